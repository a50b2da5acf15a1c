"""Mask R-CNN as torchvision has it, and ours with the same weights, for `detectors.py`."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from dense_lt.config.load import load_config
from dense_lt.models.build import build_detector
from dense_lt.models.importers.torchvision import load_torchvision
from dense_lt.structures import Masks, Target

BASE = Path(__file__).parents[1] / "configs" / "_base"
SETTINGS = (
    "model.backbone={name: resnet50.tv_in1k, pretrained: false, norm: frozen, frozen_stages: 2}",
    "model.proposals.train.proposals=2000",
    "evaluation.max_detections=[100]",
)
"""What torchvision's reference has and the base file does not."""

CORNERS = 40
"""Of an object's outline; those of LVIS have about as many."""


def theirs(num_classes: int) -> nn.Module:
    """torchvision's, as its references train it, with random weights that find something.

    Its masks are left as they are predicted, 28 x 28 in each box, as in ours; it would paste each
    into an image of its own.
    """
    body = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=3)
    detector = MaskRCNN(body, num_classes + 1)
    for name, buffer in detector.named_buffers():
        if name.endswith("bn3.weight"):
            buffer.fill_(0.2)  # or features grow from block to block
    nn.init.normal_(detector.rpn.head.cls_logits.weight, std=0.1)
    detector.transform.postprocess = lambda found, *_: found  # type: ignore[method-assign]
    return detector


def ours(num_classes: int) -> nn.Module:
    """Ours with the weights of `theirs`, so that both have the same proposals and detections."""
    weights = theirs(num_classes).state_dict()  # first, so that chance is the same in both
    bases = ("drawn", "schedule_small", "torchvision_mask_rcnn_r50")
    content = {"name": "benchmark", "base": [str(BASE / f"{name}.yaml") for name in bases]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "benchmark.yaml"
        path.write_text(yaml.safe_dump(content))
        config = load_config(path, SETTINGS)
    detector = build_detector(config.model, num_classes)
    load_torchvision(detector, weights)
    return detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def with_masks(target: Target) -> Target:
    """`target` with the ellipse in each box, as outlines."""
    turn = torch.arange(CORNERS) * (2 * math.pi / CORNERS)
    circle = torch.stack([turn.cos(), turn.sin()], dim=1)  # (CORNERS, 2)
    boxes = target["boxes"]
    middle, radius = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    points = middle[:, None] + radius[:, None] * circle
    numbers = torch.arange(len(boxes) + 1)
    return Target(**target, masks=Masks(points.flatten(0, 1), numbers * CORNERS, numbers))


def as_torchvision(target: Target, size: tuple[int, int]) -> dict[str, Tensor]:
    """The same for torchvision: background is class 0, masks are pixels."""
    boxes = target["boxes"]
    rows, columns = (torch.arange(length) + 0.5 for length in size)
    middle, radius = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    x = (columns[None, None] - middle[:, 0, None, None]) / radius[:, 0, None, None]
    y = (rows[None, :, None] - middle[:, 1, None, None]) / radius[:, 1, None, None]
    masks = (x.square() + y.square() <= 1).to(torch.uint8)  # (M, H, W)
    return {"boxes": boxes, "labels": target["labels"] + 1, "masks": masks}
