"""Small detectors of two stages and more, their scores and boxes spread as if they were trained."""

import torch
from helpers.export_models import CLASSES, PlainMaps
from torch import nn

from dense_lt.balance.counts import ClassCounts
from dense_lt.config.two_stage import TwoStageConfig
from dense_lt.models.build import build_detector
from dense_lt.models.two_stage.cascade import CascadeDetector
from dense_lt.models.two_stage.detector import TwoStageDetector

MASK = {"channels": 8, "num_convs": 1}
STAGES = {"ious": [0.5, 0.6], "weights": [1.0, 0.5], "deviations": [[0.1, 0.1, 0.2, 0.2]] * 2}
KINDS = {
    "softmax": {},
    "eql_v2": {"loss": {"kind": "eql_v2", "objectness": True}},
    "masks": {"mask": MASK},
    "agnostic": {"class_agnostic": True, "mask": {**MASK, "class_agnostic": True}},
    "cascade": {"class_agnostic": True, "cascade": STAGES},
    "htc": {
        "cascade": {**STAGES, "interleaved": True, "mask_flow": True},
        "mask": MASK,
        "semantic": {"level": 3, "num_convs": 1},
    },
}
"""Changes of the `model` section; `class_agnostic` is that of `head`."""


def two_stage_settings(kind: str = "softmax", **changed: object) -> dict:
    """The `model` section; `changed` replaces keys of it."""
    own = dict(KINDS[kind])
    head = {"channels": 16, "class_agnostic": own.pop("class_agnostic", False)}
    return {
        "kind": "two_stage",
        "backbone": {"name": "test_resnet"},
        "pyramid": {
            "levels": [3, 5],
            "backbone_levels": [3, 4],
            "channels": 8,
            "above": "max_pool",
        },
        "proposals": {
            "anchors": {"scales": [2.0]},
            "test": {"pre_nms_top_k": 60, "proposals": 40},
        },
        "pool": {"box_size": 3, "mask_size": 4, "levels": [3, 4], "canonical_size": 48.0},
        "head": head,
        "inference": {"max_detections": 30, "score_threshold": 0.02},
        **own,
        **changed,
    }


def small_two_stage(
    kind: str = "softmax", *, plain_maps: bool = False, **changed: object
) -> TwoStageDetector | CascadeDetector:
    """A detector of four classes; with `plain_maps` all of it but its backbone and pyramid."""
    torch.manual_seed(0)
    config = TwoStageConfig.model_validate(two_stage_settings(kind, **changed))
    counts = ClassCounts(CLASSES.image_counts, CLASSES.instance_counts)
    detector = build_detector(config, len(CLASSES), counts)
    assert isinstance(detector, TwoStageDetector | CascadeDetector)
    if plain_maps:
        detector.pyramid = PlainMaps(detector.pyramid.channels)  # type: ignore[assignment]
    return spread_regions(detector)


def spread_regions(detector: nn.Module) -> nn.Module:
    """`detector` in evaluation mode; weights of all that follows its pyramid moved at random."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in detector.named_parameters():
        if not name.startswith("pyramid"):
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return detector.eval()
