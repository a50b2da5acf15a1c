"""torchvision's Faster and Mask R-CNN: names and orders of their weights, and ours.

Only orders differ: torchvision's classifier, boxes and masks begin with background, ours end with
it or do without. Build the detector from `configs/_base/torchvision_mask_rcnn_r50.yaml`, which has
torchvision's anchors and pooling.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from dense_lt.models.importers.fitting import check_fit
from dense_lt.utils.errors import DataError

State = Mapping[str, Tensor]

NORM_EPS = 1e-5
"""Of our batch normalisation."""

NAMES = (
    ("backbone.body.", "pyramid.backbone.body."),
    ("backbone.fpn.", "pyramid.fpn."),
    ("rpn.head.conv.0.0.", "proposals.head.convolution."),
    ("rpn.head.cls_logits.", "proposals.head.classifier."),
    ("rpn.head.bbox_pred.", "proposals.head.box_regressor."),
    ("roi_heads.box_head.fc6.", "head.layers.0."),
    ("roi_heads.box_head.fc7.", "head.layers.1."),
    ("roi_heads.box_predictor.cls_score.", "head.classifier."),
    ("roi_heads.box_predictor.bbox_pred.", "head.box_regressor."),
    *((f"roi_heads.mask_head.{i}.0.", f"mask.head.convolutions.{i}.") for i in range(4)),
    ("roi_heads.mask_predictor.conv5_mask.", "mask.head.upsampling."),
    ("roi_heads.mask_predictor.mask_fcn_logits.", "mask.head.predictor."),
)
"""torchvision's prefix, and ours."""

EARLIER_NAMES = (
    (r"^(backbone\.fpn\.\w+_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2"),
    (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
    *(
        (rf"^roi_heads\.mask_head\.mask_fcn{i + 1}\.", f"roi_heads.mask_head.{i}.0.")
        for i in range(4)
    ),
)
"""Of the files that torchvision publishes, and what they became in its version 0.13."""

_BACKGROUND_LAST: dict[str, Callable[[Tensor], Tensor]] = {
    "head.classifier.": lambda rows: rows.roll(-1, dims=0),
    "head.box_regressor.": lambda rows: rows[4:],
    "mask.head.predictor.": lambda rows: rows[1:],
}
_BACKGROUND_FIRST: dict[str, Callable[[Tensor], Tensor]] = {
    "head.classifier.": lambda rows: rows.roll(1, dims=0),
    "head.box_regressor.": lambda rows: torch.cat([torch.zeros_like(rows[:4]), rows]),
    "mask.head.predictor.": lambda rows: torch.cat([torch.zeros_like(rows[:1]), rows]),
}


def from_torchvision(stored: State, *, norm_eps: float = NORM_EPS) -> dict[str, Tensor]:
    """Weights under our names.

    Args:
        stored: `state_dict()` of torchvision's `FasterRCNN` or `MaskRCNN` with two fully connected
            layers, with C + 1 classes of which the first is background; files of earlier versions
            too.
        norm_eps: of its frozen batch normalisation: 0 for the published `COCO_V1` weights. What it
            lacks to ours is taken from the variances.

    Raises:
        DataError: a name is none of theirs.
    """
    found = {}
    for name, tensor in stored.items():
        for pattern, current in EARLIER_NAMES:
            name = re.sub(pattern, current, name)
        own = _renamed(name, NAMES)
        if own is None:
            raise DataError(
                f"torchvision weights: {name} belongs to no part of Faster or Mask R-CNN with a "
                "ResNet, a pyramid and two fully connected layers; take such a model"
            )
        if own.endswith("running_var"):
            tensor = tensor + (norm_eps - NORM_EPS)
        found[own] = _reordered(own, tensor, _BACKGROUND_LAST)
    return found


def to_torchvision(stored: State) -> dict[str, Tensor]:
    """The inverse: our weights under torchvision's names; boxes and masks of background are 0.

    Gradient statistics and other state of the losses have no place there and are left out.
    """
    found = {}
    for name, tensor in stored.items():
        own = _renamed(name, [(ours, theirs) for theirs, ours in NAMES])
        if own is not None:
            found[own] = _reordered(name, tensor, _BACKGROUND_FIRST)
    return found


def load_torchvision(detector: nn.Module, stored: State, *, norm_eps: float = NORM_EPS) -> None:
    """Load torchvision's weights into a two-stage detector; its statistics stay as they are.

    Args:
        detector: built from `configs/_base/torchvision_mask_rcnn_r50.yaml`, for as many classes
            and with the softmax loss.
        stored: see `from_torchvision`.
        norm_eps: see `from_torchvision`.

    Raises:
        DataError: a tensor is missing, unknown, or of another shape; nothing has been loaded.
    """
    wanted = detector.state_dict()
    found = from_torchvision(stored, norm_eps=norm_eps)
    found = {name: own for name, own in found.items() if name in wanted or not _counts(name)}
    check_fit(
        found,
        {k: v for k, v in wanted.items() if k in found or not (_counts(k) or _is_loss(k))},
        source="torchvision",
        mend="Build the model for the same backbone and number of classes, with loss softmax",
    )
    detector.load_state_dict({**wanted, **found})


def _is_loss(name: str) -> bool:
    return name.startswith("loss.")


def _counts(name: str) -> bool:
    """Batches that a normalisation has seen; a frozen one does not count."""
    return name.endswith("num_batches_tracked")


def _renamed(name: str, prefixes: object) -> str | None:
    for old, new in prefixes:  # type: ignore[attr-defined]
        if name.startswith(old):
            return new + name.removeprefix(old)
    return None


def _reordered(
    name: str, tensor: Tensor, orders: Mapping[str, Callable[[Tensor], Tensor]]
) -> Tensor:
    prefix = name.rpartition(".")[0] + "."
    return orders[prefix](tensor) if prefix in orders else tensor
