"""`dense-lt export`: one file, and nothing of this package is needed to run it."""

import json
import re
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from helpers.export_models import CLASSES, model_settings, write_run
from helpers.export_two_stage import two_stage_settings
from PIL import Image

import dense_lt
from dense_lt.cli.main import main
from dense_lt.export import build
from dense_lt.structures import ImageBatch


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run", model_settings("atss"))


def blocks(height, width):
    """An image of coloured squares."""
    cells = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return cells.repeat(8, axis=0).repeat(8, axis=1)


def test_an_onnx_file_finds_what_predict_finds(run, tmp_path, capsys):
    out = tmp_path / "new" / "detector.onnx"
    assert main(["export", "--run", str(run), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "4 classes, batches of any number of images with sides" in said
    assert "sides that 32 divides, from 32 on" in said
    assert "largest difference to PyTorch: boxes" in said
    assert [path.name for path in out.parent.iterdir()] == [out.name]

    image = blocks(56, 72)
    trained = dense_lt.load_run(run, device="cpu")
    pixels = np.zeros((2, 3, 64, 96), dtype=np.uint8)
    pixels[:, :, :56, :72] = image.transpose(2, 0, 1)
    sizes = np.array([[56, 72], [56, 72]])
    session = onnxruntime.InferenceSession(out.read_bytes())
    boxes, scores, labels, images = session.run(None, {"pixels": pixels, "sizes": sizes})
    with torch.no_grad():
        own = trained.detector(ImageBatch(torch.from_numpy(pixels), ((56, 72), (56, 72))))[1]
    assert len(own.scores) > 10
    np.testing.assert_allclose(boxes[images == 1], own.boxes, atol=1e-3)
    np.testing.assert_allclose(scores[images == 1], own.scores, atol=1e-5)
    np.testing.assert_array_equal(labels[images == 1], own.labels)
    nothing = session.run(None, {"pixels": pixels, "sizes": np.zeros_like(sizes)})
    assert [len(column) for column in nothing] == [0, 0, 0, 0], "all is padding"

    exif = Image.Exif()
    exif[274] = 6  # the camera was turned
    Image.fromarray(image[:48]).save(out.parent / "street.jpg", exif=exif)  # 72 wide, 48 high
    sample = run_sample(out.parent)
    assert sample["image"].shape == (1200, 800, 3), "upright"
    assert len(sample["boxes"]) == len(sample["images"]) > 0

    facts = session.get_modelmeta().custom_metadata_map
    facts = {name: json.loads(text) for name, text in facts.items()}
    assert facts["names"] == list(CLASSES.names)
    assert facts["category_ids"] == list(CLASSES.dataset_ids)
    assert facts["multiple_of"] == 32
    assert facts["size"] is None
    assert facts["outputs"] == ["boxes", "scores", "labels", "images"]
    normalizer = trained.detector.normalizer
    np.testing.assert_allclose(facts["mean"], normalizer.mean.flatten(), rtol=1e-6)
    np.testing.assert_allclose(facts["std"], normalizer.std.flatten(), rtol=1e-6)
    assert facts["resize"] == {"kind": "short_side", "short": [800], "long": 1333}


def run_sample(folder):
    """The code of docs/export.md, with the files of `folder`; returns its variables."""
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    blocks = re.findall(r"(?:^ {4}.*\n|^\n)+", text, flags=re.MULTILINE)
    (sample,) = (block for block in blocks if "InferenceSession" in block)
    for name in ("detector.onnx", "street.jpg"):
        sample = sample.replace(f'"{name}"', repr(str(folder / name)))
    variables = {}
    exec(textwrap.dedent(sample), variables)
    return variables


def test_a_torch_file_of_fixed_size_with_calibrated_raw_scores(run, tmp_path, capsys):
    out = tmp_path / "detector.pt2"
    options = ["--output", "raw", "--size", "64", "96", "--norcal", "0.5"]
    assert main(["export", "--run", str(run), "--out", str(out), *options]) == 0
    assert "of images of 64 x 96 pixels" in capsys.readouterr().out
    extra = {"dense_lt.json": ""}
    program = torch.export.load(str(out), extra_files=extra).module()
    facts = {name: json.loads(text) for name, text in json.loads(extra["dense_lt.json"]).items()}
    assert facts["size"] == [64, 96]
    assert facts["calibration"] == ["norcal", 0.5]
    scores, boxes = program(
        torch.zeros(4, 3, 64, 96, dtype=torch.uint8), torch.tensor([[64, 96]] * 4)
    )
    assert scores.shape == (4, 8 * 12 + 4 * 6, 4)
    assert boxes.shape == (4, 8 * 12 + 4 * 6, 4)


def test_a_file_that_differs_is_not_left_behind(run, tmp_path, capsys, monkeypatch):
    def read(path, format):
        assert path.is_file()
        return lambda pixels, sizes: (
            torch.ones(len(pixels), 120, 4),
            torch.ones(len(pixels), 120, 4),
        )

    monkeypatch.setattr(build, "read", read)
    out = tmp_path / "detector.pt2"
    out.write_text("an older one")
    options = ["--output", "raw", "--size", "64", "96"]
    assert main(["export", "--run", str(run), "--out", str(out), *options]) == 2
    assert "differs from PyTorch: boxes" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    assert out.read_text() == "an older one"


def test_a_detector_with_masks_gives_them_with_its_boxes(tmp_path, capsys):
    folder = write_run(tmp_path / "run", two_stage_settings("masks"))
    out = tmp_path / "detector.pt2"
    assert main(["export", "--run", str(folder), "--out", str(out), "--size", "64", "96"]) == 0
    assert "largest difference to PyTorch: boxes" in capsys.readouterr().out
    extra = {"dense_lt.json": ""}
    program = torch.export.load(str(out), extra_files=extra).module()
    facts = {name: json.loads(text) for name, text in json.loads(extra["dense_lt.json"]).items()}
    assert facts["outputs"] == ["boxes", "scores", "labels", "images", "masks"]
    assert facts["selection"] == {"score_threshold": 0.02, "nms_iou": 0.5, "max_detections": 30}
    pixels = torch.from_numpy(blocks(64, 96)).permute(2, 0, 1)[None]
    boxes, *_, masks = program(pixels, torch.tensor([[64, 96]]))
    own = dense_lt.load_run(folder, device="cpu").detector
    with torch.no_grad():
        expected = own(ImageBatch(pixels, ((64, 96),)))[0]
    torch.testing.assert_close(boxes, expected.boxes)
    torch.testing.assert_close(masks, expected.masks)
    assert masks.shape == (30, 8, 8)


def test_dense_proposals_are_refused_in_words(tmp_path, capsys):
    settings = two_stage_settings()
    settings["proposals"] = {"kind": "dense", "head": {"channels": 8, "norm_groups": 2}}
    folder = write_run(tmp_path / "run", settings)
    assert main(["export", "--run", str(folder), "--out", str(tmp_path / "a.pt2")]) == 2
    said = capsys.readouterr().err
    assert "model.proposals.kind is dense, but of detectors with regions only those" in said
    assert not (tmp_path / "a.pt2").exists()


def test_a_name_that_does_not_say_the_format_is_refused(run, tmp_path, capsys):
    assert main(["export", "--run", str(run), "--out", str(tmp_path / "detector")]) == 2
    assert "let it end with .onnx or .pt2, or give --format" in capsys.readouterr().err


@pytest.mark.parametrize(("format", "name"), [("torch", "a.onnx"), ("onnx", "a.PT2")])
def test_a_format_that_the_name_denies_is_refused(run, tmp_path, capsys, format, name):
    out = tmp_path / name
    out.write_text("an older one")
    assert main(["export", "--run", str(run), "--out", str(out), "--format", format]) == 2
    assert f"{name}: the name says" in (said := capsys.readouterr().err)
    assert f"but --format {format}; leave out" in said
    assert out.read_text() == "an older one"


def test_a_place_that_takes_no_file_is_told_before_the_run_is_looked_at(tmp_path, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "folder.onnx").mkdir()
    for name, message in (
        ("file/a.onnx", f"{tmp_path / 'file'} is a file, not a folder"),
        ("folder.onnx", "this is a folder; name the file"),
    ):
        assert main(["export", "--run", "no_run", "--out", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err


def test_a_missing_package_is_named(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert main(["export", "--run", str(run), "--out", str(tmp_path / "a.onnx")]) == 2
    said = capsys.readouterr().err
    assert "--format onnx needs the package onnxscript" in said
    assert "pip install dense_lt[export]" in said


@pytest.mark.parametrize("options", [["--size", "8", "64"], ["--norcal", "-1"], ["--norcal", "x"]])
def test_bad_values_are_refused(run, tmp_path, capsys, options):
    with pytest.raises(SystemExit):
        main(["export", "--run", str(run), "--out", str(tmp_path / "a.onnx"), *options])
    assert "a side is a whole number" in (said := capsys.readouterr().err) or "above 0" in said


def test_a_folder_that_is_no_run_is_named(tmp_path, capsys):
    assert main(["export", "--run", str(tmp_path), "--out", str(tmp_path / "a.pt2")]) == 2
    assert "this is no run folder" in capsys.readouterr().err
