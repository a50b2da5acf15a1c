import json
from pathlib import Path

import pytest
import torch
from helpers import mmdetection
from helpers.annotation_files import lvis_content, write_set
from helpers.united_perception import draw, shapes_of_yolox
from safetensors import safe_open
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from dense_lt.cli.main import main
from dense_lt.engine.checkpoint import latest_checkpoint
from dense_lt.engine.start import init_from
from dense_lt.inference.build import load_run

RECIPE = Path(__file__).parents[2] / "configs" / "lvis" / "eqfl_yolox_ip_s.yaml"
SMALL = [
    "model.backbone.options={depth: 0.33, width: 0.125}",
    "model.head.channels=32",
    "data.val_transforms.resize.sizes=[64]",
]
CLASSES = 3
"""As `lvis_content` has."""

STATE = draw(shapes_of_yolox(8, 1, CLASSES))


@pytest.fixture
def theirs(tmp_path):
    """A checkpoint of a run with an average of weights, which is what counts."""
    path = tmp_path / "theirs.pth"
    other = {name: torch.zeros_like(tensor) for name, tensor in STATE.items()}
    torch.save({"model": other, "ema": {"ema_state_dict": STATE}, "epoch": 300}, path)
    return path


def command(theirs, out, *more):
    words = [str(theirs), "--config", str(RECIPE), "--out", str(out), "--layout", "class_first"]
    return main(["import-weights", *words, *SMALL, *more])


def data(folder):
    for name in ("train", "val"):
        write_set(folder, lvis_content(), name)
    paths = [f"data.dataset.{name}.annotations={name}.json" for name in ("train", "val")]
    return [f"data.dataset.root={folder}", *paths]


def test_a_file_to_start_from(theirs, tmp_path, capsys):
    out = tmp_path / "deep" / "ours.safetensors"
    assert command(theirs, out) == 0
    assert f"model.init_from={out}" in capsys.readouterr().out
    with safe_open(out, "pt") as file:
        assert file.metadata()["imported_from"] == "united-perception"
        bias = file.get_tensor("head.levels.0.classifier.bias")
        counted = file.get_tensor("loss.classification.statistics.positive")
    assert bias[CLASSES] == STATE["roi_head.cls_preds.0.bias"][1], "class 0 of prior 1"
    torch.testing.assert_close(counted.float(), STATE["post_process.cls_loss.pos_grad"])
    run = tmp_path / "run"
    assert command(theirs, run, *data(tmp_path / "set")) == 0
    detector = load_run(run, device="cpu").detector
    before = bias.clone()
    with torch.no_grad():
        detector.head.levels[0].classifier.bias.zero_()
    loaded = init_from(detector, out)
    assert torch.equal(detector.head.levels[0].classifier.bias, before)
    assert "not in the file" not in loaded


def test_a_run_to_evaluate(theirs, tmp_path, capsys):
    run, overrides = tmp_path / "run", data(tmp_path / "set")
    assert command(theirs, run, *overrides) == 0
    assert latest_checkpoint(run).name == "step_00000000.safetensors"
    assert main(["eval", str(run), "device=cpu", "data.workers=0"]) == 0
    results = json.loads((run / "evaluation" / "results.json").read_text())
    assert results
    capsys.readouterr()
    assert command(theirs, run, *overrides) == 2
    assert "it is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.head.channels=16", "has shape"),
        ("model.pyramid.depth=0.67", "missing pyramid.down.0.through.2"),
    ],
)
def test_another_detector_is_refused(theirs, tmp_path, capsys, override, message):
    out = tmp_path / "ours.safetensors"
    assert command(theirs, out, override) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_weights_of_torchvision(tmp_path):
    config = tmp_path / "theirs.yaml"
    bases = ("drawn", "schedule_small", "torchvision_mask_rcnn_r50")
    files = ", ".join(str(RECIPE.parents[1] / "_base" / f"{name}.yaml") for name in bases)
    config.write_text(f"name: theirs\nbase: [{files}]\n")
    body = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)
    model = MaskRCNN(body, CLASSES + 1)
    torch.save(model.state_dict(), tmp_path / "theirs.pth")
    out = tmp_path / "ours.safetensors"
    words = [str(tmp_path / "theirs.pth"), "--config", str(config), "--out", str(out)]
    backbone = "{name: resnet18, pretrained: false, frozen_stages: 0, norm: frozen}"
    shorter = ["evaluation.max_detections=[300]", "model.inference.max_detections=300"]
    assert main(["import-weights", *words, f"model.backbone={backbone}", *shorter]) == 0
    with safe_open(out, "pt") as file:
        assert file.metadata()["imported_from"] == "torchvision"
        bias = file.get_tensor("head.classifier.bias")
    assert torch.equal(bias, model.roi_heads.box_predictor.cls_score.bias.roll(-1))


@pytest.mark.parametrize("words", [[], ["--from", "mmdetection"]])
def test_weights_of_mmdetection(tmp_path, words):
    shapes = mmdetection.shapes_of(mmdetection.resnet((1,) * 4), CLASSES, width=16, hidden=24)
    state = mmdetection.draw(shapes)
    torch.save({"meta": {"epoch": 12}, "state_dict": state}, tmp_path / "theirs.pth")
    out, recipe = tmp_path / "ours.safetensors", RECIPE.with_name("mask_rcnn_r50_1x_eql_v2.yaml")
    words = [str(tmp_path / "theirs.pth"), "--config", str(recipe), "--out", str(out), *words]
    small = ["pyramid.channels=16", "head.channels=24", "mask.channels=16"]
    small += ["backbone.options={layers: [1, 1, 1, 1]}"]
    small = [f"model.{setting}" for setting in small]
    assert main(["import-weights", *words, *small]) == 0
    with safe_open(out, "pt") as file:
        assert file.metadata()["imported_from"] == "mmdetection"
        bias = file.get_tensor("head.classifier.bias")
        counted = file.get_tensor("loss.classification.statistics.positive")
    assert torch.equal(bias, state["roi_head.bbox_head.fc_cls.bias"])
    assert torch.equal(counted.float(), state["roi_head.bbox_head.loss_cls.pos_grad"])


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("mask_rcnn_r50_1x_bags", "any loss but BAGS, whose logits depend on the data"),
        ("retinanet_r50_2x_efl", "the model is of kind one_stage"),
    ],
)
def test_recipes_whose_classes_cannot_be_counted_are_refused(tmp_path, capsys, recipe, message):
    path, out = tmp_path / "theirs.pth", tmp_path / "ours.safetensors"
    torch.save({"rpn_head.rpn_cls.bias": torch.zeros(3)}, path)
    config = RECIPE.with_name(f"{recipe}.yaml")
    assert main(["import-weights", str(path), "--config", str(config), "--out", str(out)]) == 2
    assert message in capsys.readouterr().err


def test_a_run_needs_the_data_and_their_number_of_classes(theirs, tmp_path, capsys):
    assert command(theirs, tmp_path / "run") == 2
    assert "data.dataset.root" in capsys.readouterr().err
    overrides = data(tmp_path / "set")
    content = lvis_content()
    content["categories"].append({"id": 99, "name": "one more", "frequency": "r"})
    for name in ("train", "val"):
        write_set(tmp_path / "set", content, name)
    assert command(theirs, tmp_path / "run", *overrides) == 2
    assert "the weights have 3 classes, the data 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"some.weight": torch.zeros(1)}, "those of neither"),
        ({"model": {"a": torch.zeros(1)}}, "the file has no classifier"),
        ({"model": Path("x")}, "without running code"),
        ([1], "holds a list, expected a state dict"),
        (None, "there is no such file"),
    ],
)
def test_a_file_that_is_something_else_is_refused(tmp_path, capsys, content, message):
    path = tmp_path / "theirs.pth"
    if content is not None:
        torch.save(content, path)
    assert command(path, tmp_path / "ours.safetensors") == 2
    assert message in capsys.readouterr().err


def test_out_is_a_file_of_weights_or_a_folder(theirs, tmp_path, capsys):
    assert command(theirs, tmp_path / "ours.pth") == 2
    assert "expected FILE.safetensors, or a folder" in capsys.readouterr().err
