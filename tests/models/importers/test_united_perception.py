"""Weights under United-Perception's names give the numbers of its own networks, and come back."""

from functools import lru_cache
from pathlib import Path

import pytest
import torch
from helpers.united_perception import (
    draw,
    logits_of,
    resnet_outputs,
    shapes_of_resnet,
    shapes_of_yolox,
    yolox_outputs,
)

from dense_lt.config.load import load_config
from dense_lt.models.build import build_detector
from dense_lt.models.importers.united_perception import (
    find_layout,
    from_united_perception,
    load_united_perception,
    their_name,
    to_united_perception,
    weights_of,
)
from dense_lt.structures import ImageBatch
from dense_lt.utils.errors import DataError

RECIPES = Path(__file__).parents[3] / "configs" / "lvis"
CLASSES = 5
NO_DATA = "data.dataset.root=somewhere"
SMALL = {
    "efl_improved_baseline_r50_2x": ["model.backbone.options={layers: [1, 1, 1, 1]}"],
    "eqfl_yolox_ip_s": [
        "model.backbone.options={depth: 0.33, width: 0.125}",
        "model.head.channels=32",
    ],
}
RETINA, YOLOX = SMALL
THEIRS = {
    RETINA: shapes_of_resnet((1, 1, 1, 1), CLASSES),
    YOLOX: shapes_of_yolox(8, 1, CLASSES),
}


def build(recipe, overrides=(), classes=CLASSES):
    overrides = [NO_DATA, "model.backbone.pretrained=false", *overrides]
    model = load_config(RECIPES / f"{recipe}.yaml", overrides).model
    return build_detector(model, classes)


@lru_cache
def small(recipe):
    torch.manual_seed(0)
    return build(recipe, SMALL[recipe]).eval()


@lru_cache
def full_size(recipe):
    """The state dict, without memory."""
    with torch.device("meta"):
        return build(recipe, classes=1203).state_dict()


@pytest.mark.parametrize(
    ("recipe", "shapes"),
    [
        ("efl_improved_baseline_r50_2x", shapes_of_resnet((3, 4, 6, 3), 1203)),
        ("efl_improved_baseline_r101_2x", shapes_of_resnet((3, 4, 23, 3), 1203)),
        ("efl_yolox_ip_s", shapes_of_yolox(32, 1, 1203)),
        ("eqfl_yolox_ip_m", shapes_of_yolox(48, 2, 1203)),
    ],
)
def test_every_tensor_of_the_published_detectors_has_a_name_in_both_directions(recipe, shapes):
    ours = {name: tensor for name, tensor in full_size(recipe).items() if their_name(name)}
    theirs = {their_name(name): tuple(tensor.shape) for name, tensor in ours.items()}
    assert len(theirs) == len(ours), "no two of ours have one name there"
    left = {name: shape for name, shape in shapes.items() if name not in theirs}
    assert theirs == {name: shape for name, shape in shapes.items() if name not in left}
    assert left.keys() == {"post_process.cls_loss.pos_neg"}
    own = {name for name in full_size(recipe) if name not in ours}
    kept = ("steps", "dropped", "class_table")
    assert own == {f"loss.classification.statistics.{name}" for name in kept}


@pytest.mark.parametrize("layout", ["anchor_first", "class_first"])
def test_a_resnet_with_their_weights_gives_their_numbers(layout):
    state, detector = draw(THEIRS[RETINA]), small(RETINA)
    load_united_perception(detector, state, num_priors=2, layout=layout)
    pixels = torch.randint(0, 256, (2, 3, 64, 128), dtype=torch.uint8)
    with torch.no_grad():
        images = ImageBatch(pixels, sizes=((64, 128),) * 2)
        normalised = detector.normalizer(images)
        found = detector.head(detector.pyramid(normalised))
        expected = resnet_outputs(state, normalised, (1, 1, 1, 1))
    assert_same(found, expected, layout)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    torch.testing.assert_close(normalised[0], (pixels[0] / 255 - mean) / std)


@pytest.mark.parametrize("layout", ["anchor_first", "class_first"])
def test_yolox_with_their_weights_gives_their_numbers_from_blue_green_red(layout):
    state, detector = draw(THEIRS[YOLOX]), small(YOLOX)
    load_united_perception(detector, state, num_priors=2, layout=layout)
    pixels = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        images = ImageBatch(pixels, sizes=((64, 96),) * 2)
        found = detector.head(detector.pyramid(detector.normalizer(images)))
        expected = yolox_outputs(state, pixels.flip(1).float(), depth=1)
    assert_same(found, expected, layout)


def assert_same(found, expected, layout):
    for level, (logits, codes, quality) in enumerate(expected):
        close = {"rtol": 1e-3, "atol": 1e-3 * logits.abs().max().item()}
        assert logits.std() > 0.01
        torch.testing.assert_close(found.logits[level], logits_of(logits, 2, layout), **close)
        torch.testing.assert_close(found.codes[level], logits_of(codes, 2, "anchor_first"), **close)
        scores = logits_of(quality, 2, "anchor_first").squeeze(-1)
        torch.testing.assert_close(found.quality[level], scores, **close)


@pytest.mark.parametrize("layout", ["anchor_first", "class_first"])
@pytest.mark.parametrize("recipe", SMALL)
def test_weights_come_back_as_they_were(recipe, layout):
    state, wanted = draw(THEIRS[recipe]), small(recipe).state_dict()
    found = from_united_perception(state, wanted, num_priors=2, layout=layout)
    assert found.keys() == {name for name in wanted if their_name(name)}
    back = to_united_perception({**wanted, **found}, num_priors=2, layout=layout)
    assert back.keys() == state.keys()
    for name, tensor in back.items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=1e-7)
    again = from_united_perception(back, wanted, num_priors=2, layout=layout)
    assert all(torch.equal(again[name], tensor) for name, tensor in found.items())


def test_a_detector_with_frozen_norms_leaves_their_counters_out():
    state, wanted = draw(THEIRS[RETINA]), small(RETINA).state_dict()
    frozen = {name: tensor for name, tensor in wanted.items() if "num_batches" not in name}
    found = from_united_perception(state, frozen, num_priors=2, layout="class_first")
    assert found.keys() == {name for name in frozen if their_name(name)}
    back = to_united_perception(found, num_priors=2, layout="class_first")
    assert back.keys() == state.keys()
    assert back["backbone.layer0.1.num_batches_tracked"] == 0


def test_the_two_layouts_differ_in_the_classifier_alone():
    state, wanted = draw(THEIRS[RETINA]), small(RETINA).state_dict()
    one, other = (
        from_united_perception(state, wanted, num_priors=2, layout=layout)
        for layout in ("anchor_first", "class_first")
    )
    differing = {name for name in one if not torch.equal(one[name], other[name])}
    assert differing == {"head.classifier.weight", "head.classifier.bias"}
    # channel c A + a becomes a C + c: class 3 of prior 1 is channel 7 there and 8 here
    assert other["head.classifier.bias"][8] == state["roi_head.cls_subnet_pred.bias"][7]


def test_statistics_come_along_and_a_fresh_ratio_is_one():
    state, wanted = draw(THEIRS[RETINA]), small(RETINA).state_dict()
    found = from_united_perception(state, wanted, num_priors=2, layout="anchor_first")
    sums = found["loss.classification.statistics.positive"]
    assert sums.dtype == torch.float64
    torch.testing.assert_close(sums.float(), state["post_process.cls_loss.pos_grad"])
    for part in ("positive", "negative"):
        found[f"loss.classification.statistics.{part}"].zero_()
    back = to_united_perception(found, num_priors=2)
    assert back["post_process.cls_loss.pos_neg"].tolist() == [1.0] * CLASSES


@pytest.mark.parametrize("layout", ["anchor_first", "class_first"])
def test_the_layout_is_that_in_which_the_priors_of_a_class_are_alike(layout):
    generator = torch.Generator().manual_seed(0)
    classes = torch.randn(1, 30, 64, 3, 3, generator=generator)
    rows = classes + 0.5 * torch.randn(2, 30, 64, 3, 3, generator=generator)  # (A, C, ...)
    rows = rows if layout == "anchor_first" else rows.transpose(0, 1)
    weight = {"w": rows.flatten(0, 1), "b": torch.zeros(60)}
    assert find_layout(weight, 2) == layout


def test_a_layout_that_is_not_clear_is_asked_for():
    untrained = {"w": torch.randn(60, 64, 3, 3, generator=torch.Generator().manual_seed(0))}
    with pytest.raises(DataError, match=r"class-first or anchor-first.*--layout"):
        find_layout(untrained, 2)
    assert find_layout(untrained, 1) == "anchor_first", "one prior has one layout"


def test_earlier_names_and_prefixes_are_read():
    state, wanted = draw(THEIRS[RETINA]), small(RETINA).state_dict()
    earlier = {
        "module." + name.replace("layer0.0.", "conv1.").replace("layer0.1.", "bn1."): tensor
        for name, tensor in state.items()
    }
    found, expected = (
        from_united_perception(s, wanted, num_priors=2, layout="class_first")
        for s in (earlier, state)
    )
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_checkpoint_gives_its_average_if_it_has_one():
    weights, average = {"a": torch.zeros(1)}, {"a": torch.ones(1)}
    assert weights_of(weights) == weights
    assert weights_of({"model": weights, "epoch": 3}) == weights
    assert weights_of({"state_dict": weights, "epoch": 3}) == weights
    assert weights_of({"model": weights, "ema": {}}) == weights
    assert weights_of({"model": weights, "ema": {"ema_state_dict": average}}) == average
    with pytest.raises(DataError, match=r"the file holds epoch, but no state dict"):
        weights_of({"epoch": 3})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"roi_head.iou_pred.bias": None}, r"missing head\.quality_predictor\.bias"),
        ({"roi_head.mask.weight": torch.zeros(1)}, r"unknown roi_head\.mask\.weight"),
        (
            {"roi_head.cls_subnet_pred.bias": torch.zeros(14)},
            r"head\.classifier\.bias has shape \(14,\), the model \(10,\)",
        ),
    ],
)
def test_weights_of_another_model_are_refused(change, message):
    state = {k: v for k, v in {**draw(THEIRS[RETINA]), **change}.items() if v is not None}
    detector = small(RETINA)
    before = detector.head.box_regressor.weight.clone()
    with pytest.raises(DataError, match=message):
        load_united_perception(detector, state, num_priors=2, layout="class_first")
    assert torch.equal(detector.head.box_regressor.weight, before)


def test_a_detector_without_counterpart_is_refused():
    with pytest.raises(DataError, match=r"head\.level_scales has no counterpart"):
        to_united_perception({"head.level_scales": torch.ones(5)}, num_priors=2)
