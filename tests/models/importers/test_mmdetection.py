"""Weights under mmdetection's names give the numbers of its own networks, and come back."""

from functools import lru_cache
from pathlib import Path

import pytest
import torch
from helpers.mmdetection import TwoStage, draw, resnet, shapes_of
from helpers.tiny_two_stage import build as tiny

from dense_lt.config.load import load_config
from dense_lt.models.build import build_detector
from dense_lt.models.importers.mmdetection import (
    from_mmdetection,
    load_mmdetection,
    their_name,
    to_mmdetection,
    weights_of,
)
from dense_lt.models.two_stage.regions import Regions
from dense_lt.structures import ImageBatch
from dense_lt.utils.errors import DataError

RECIPES = Path(__file__).parents[3] / "configs" / "lvis"
CLASSES = 5
HTC = [f"model.{x}" for x in ("cascade.interleaved=true", "cascade.mask_flow=true", "semantic={}")]
PLAIN, CASCADE = "mask_rcnn_r50_1x_eql_v2", "cascade_mask_rcnn_r101_2x_eql_v2"
SETTINGS = {PLAIN: {}, CASCADE: {"stages": 3, "htc": True}}
STAGES = {PLAIN: [""], CASCADE: [".0", ".1", ".2"]}
SMALL = [
    "model.backbone.options={layers: [1, 1, 1, 1]}",
    "model.pyramid.channels=16",
    "model.head.channels=24",
    "model.mask.channels=16",
]


def build(recipe, overrides=(), classes=CLASSES):
    needed = ["data.dataset.root=somewhere", "model.backbone.pretrained=false"]
    model = load_config(RECIPES / f"{recipe}.yaml", [*needed, *overrides]).model
    return build_detector(model, classes)


@lru_cache
def small(recipe):
    """A detector of one block a stage with some weights under their names in it, and those."""
    torch.manual_seed(0)
    detector = build(recipe, [*SMALL, *(HTC if recipe == CASCADE else ())]).eval()
    shapes = shapes_of(resnet((1,) * 4), CLASSES, width=16, hidden=24, **SETTINGS[recipe])
    state = draw(shapes)
    load_mmdetection(detector, state)
    return detector, state


@pytest.mark.parametrize(
    ("recipe", "body", "classes"),
    [
        (PLAIN, resnet((3, 4, 6, 3)), 1203),
        ("v05_htc_x101_64x4d_eql_v2", resnet((3, 4, 23, 3), groups=64, base_width=4), 1230),
    ],
)
def test_every_tensor_of_the_published_detectors_has_a_name_in_both_directions(
    recipe, body, classes
):
    htc = recipe != PLAIN
    with torch.device("meta"):
        wanted = build(recipe, HTC if htc else (), classes).state_dict()
    ours = {name: their_name(name) for name in wanted}
    theirs = {own: tuple(wanted[name].shape) for name, own in ours.items() if own}
    assert len(theirs) == sum(own is not None for own in ours.values()), "each has one of its own"
    expected = shapes_of(body, classes, **SETTINGS[CASCADE if htc else PLAIN])
    assert theirs == {k: v for k, v in expected.items() if not k.endswith("pos_neg")}
    only_ours = {name.rpartition(".")[2] for name, own in ours.items() if own is None}
    assert only_ours == {"steps", "dropped", "class_table"}


@pytest.mark.parametrize("recipe", SETTINGS)
@torch.no_grad()
def test_a_detector_with_their_weights_gives_their_numbers(recipe):
    detector, state = small(recipe)
    network = TwoStage(state)
    pixels = torch.randint(0, 256, (2, 3, 128, 192), dtype=torch.uint8)
    normalised = detector.normalizer(ImageBatch(pixels, ((128, 192),) * 2))
    levels, expected = detector.pyramid(normalised), network.levels(normalised)
    for own, wanted in zip(levels, expected, strict=True):
        assert_close(own, wanted)
    found = detector.proposals.head(levels)
    for level, (logits, deltas) in enumerate(network.proposals(expected)):
        assert_close(found.logits[level].squeeze(-1), logits)
        assert_close(found.codes[level], deltas)
    if recipe == CASCADE:
        levels, _ = detector.semantic(levels, ((128, 192),) * 2, None)
        logits, features = network.semantics(expected)
        assert_close(detector.semantic.predictor(detector.semantic._shared(levels[:5])), logits)
        assert_close(levels[5], features)
        expected = [*expected, features]
    boxes = torch.tensor([[3.0, 5, 40, 60], [0, 0, 192, 128], [20, 2, 190, 90]])
    labels, images = torch.tensor([4, 0, 2]), torch.tensor([0, 1, 1])
    rows, regions = torch.cat([images[:, None], boxes], 1), Regions(boxes, images)
    parts = getattr(detector, "stages", [detector])
    for number, (part, stage) in enumerate(zip(parts, STAGES[recipe], strict=True)):
        predictions = part.head(levels, regions)
        logits, deltas = network.boxes(expected, rows, stage)
        assert_close(predictions.logits, logits)
        assert_close(predictions.codes.flatten(1), deltas)
        heads = [earlier.mask.head for earlier in list(parts)[:number]]
        masks = network.masks(expected, rows, STAGES[recipe][: number + 1])
        assert_close(part.mask.head(levels, regions, labels, heads), masks[torch.arange(3), labels])


def assert_close(found, expected):
    assert expected.std() > 1e-3
    torch.testing.assert_close(
        found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item(), check_stride=False
    )


@pytest.mark.parametrize("recipe", SETTINGS)
def test_weights_come_back_as_they_were(recipe):
    detector, state = small(recipe)
    back = to_mmdetection(detector.state_dict())
    assert back.keys() == state.keys()
    counts = {name for name in state if name.endswith("num_batches_tracked")}
    for name in state.keys() - counts:
        torch.testing.assert_close(back[name], state[name], rtol=0, atol=1e-7)
    assert all(back[name].shape == () for name in counts)
    without = to_mmdetection(detector.state_dict(), statistics=False)
    assert without.keys() == {name for name in state if "loss_cls" not in name}


def test_statistics_come_along_and_a_fresh_ratio_leaves_classes_alone():
    detector, state = small(CASCADE)
    for number, stage in enumerate(detector.stages):
        sums = stage.loss.classification.statistics.negative
        assert sums.dtype == torch.float64
        torch.testing.assert_close(
            sums.float(), state[f"roi_head.bbox_head.{number}.loss_cls.neg_grad"]
        )
    fresh = to_mmdetection(tiny(loss={"kind": "eql_v2"}, mask={}, backbone=BODY).state_dict())
    assert fresh["roi_head.bbox_head.loss_cls.pos_neg"].tolist() == [100.0] * 4


BODY = {"name": "resnet18", "norm": "train"}


def test_files_without_statistics_leave_them_as_they_are():
    _, state = small(PLAIN)
    detector = build(PLAIN, SMALL)
    statistics = detector.loss.classification.statistics
    statistics.positive.fill_(3)
    published = {f"module.{k}": v for k, v in state.items() if "loss_cls" not in k}
    load_mmdetection(detector, weights_of({"state_dict": published, "meta": {"epoch": 12}}))
    assert statistics.positive.tolist() == [3.0] * CLASSES
    weight = state["roi_head.bbox_head.fc_cls.weight"]
    assert torch.equal(detector.head.classifier.weight, weight)


def test_a_detector_with_frozen_norms_leaves_their_counters_out():
    detector, state = small(PLAIN)
    wanted = detector.state_dict()
    frozen = {name: tensor for name, tensor in wanted.items() if "num_batches" not in name}
    found = from_mmdetection(state, frozen)
    assert found.keys() == {name for name in frozen if their_name(name)}
    back = to_mmdetection(found)
    assert back.keys() == state.keys()
    assert back["backbone.bn1.num_batches_tracked"] == 0


@pytest.mark.parametrize(
    ("changes", "theirs", "ours"),
    [
        ({"loss": {"kind": "seesaw"}}, "loss_cls.cum_samples", "loss.classification.counts"),
        ({"head": {"classifier": "scaled"}}, "fc_cls.weight_scaler", "head.classifier.scale"),
    ],
)
def test_what_seesaw_counts_and_what_lws_learns_comes_along(changes, theirs, ours):
    """They count background too, as the last of C + 1; their factors are a column."""
    wanted = tiny(backbone=BODY, **changes).state_dict()
    state = to_mmdetection(wanted, statistics=False)
    values = state[f"roi_head.bbox_head.{theirs}"]
    assert values.shape == ((5,) if "cum" in theirs else (5, 1))
    values.copy_(torch.arange(5.0).view(values.shape))
    found = from_mmdetection(state, wanted)[ours]
    assert found.tolist() == list(range(len(wanted[ours])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rpn_head.rpn_cls.bias": None}, r"missing proposals\.head\.classifier\.bias"),
        ({"bbox_head.fc_cls.bias": torch.zeros(6)}, r"unknown bbox_head\.fc_cls\.bias"),
        (
            {"roi_head.bbox_head.fc_cls.bias": torch.zeros(5)},
            r"head\.classifier\.bias has shape \(5,\), the model \(6,\)",
        ),
    ],
)
def test_weights_of_another_model_are_refused(change, message):
    detector, state = small(PLAIN)
    before = detector.head.box_regressor.weight.clone()
    state = {k: 2 * v for k, v in {**state, **change}.items() if v is not None}
    with pytest.raises(DataError, match=message):
        load_mmdetection(detector, state)
    assert torch.equal(detector.head.box_regressor.weight, before)


def test_a_detector_without_counterpart_is_refused():
    with pytest.raises(DataError, match=r"pyramid\.above\.0\.weight has no counterpart there"):
        to_mmdetection({"pyramid.above.0.weight": torch.ones(1)})
    with pytest.raises(DataError, match=r"no state dict"):
        weights_of({"meta": {"epoch": 12}})
