"""Semantic branch: a map of the whole image that every region sees a part of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dense_lt.models.two_stage.mask_head import masks_of
from dense_lt.ops.boxes import box_area
from dense_lt.ops.mask_targets import rasterise_in_boxes
from dense_lt.ops.matching import IGNORE
from dense_lt.structures import Losses, Size, Target
from dense_lt.utils.distributed import normalizer_over_processes

OBJECTS_AT_ONCE = 64
"""Objects of an image that are drawn together; bounds the memory of targets."""


class SemanticBranch(nn.Module):
    """All levels added up at one of them, convolved, and classified cell by cell.

    Its features are one more map beside those of the pyramid; `RegionPooling` adds what it finds
    there to the features of a region.

    Source: Chen et al. 2019 (HTC), and its code, from which are the ReLU of the 1x1 convolutions
    and the interpolation. It learns the stuff maps of COCO there, here the classes of objects: see
    `semantic_labels`.
    """

    def __init__(
        self,
        *,
        channels: int,
        strides: Sequence[int],
        level: int,
        num_convs: int,
        num_classes: int,
        weight: float = 0.2,
    ) -> None:
        """Build and initialise.

        Args:
            channels: of all maps, its own included.
            strides: of all maps.
            level: which of them it has the size of.
            num_convs: 3x3 convolutions.
            num_classes: C; background is one more class, the last.
            weight: factor on the loss.
        """
        super().__init__()
        self.stride = strides[level]
        self.level = level
        self.num_classes = num_classes
        self.weight = weight
        self.laterals = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in strides)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(num_convs)
        )
        self.embedding = nn.Conv2d(channels, channels, 1)
        self.predictor = nn.Conv2d(channels, num_classes + 1, 1)
        for layer in (*self.laterals, *self.convolutions, self.embedding, self.predictor):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(
        self,
        levels: Sequence[Tensor],
        sizes: Sequence[Size],
        targets: Sequence[Target] | None,
        *,
        share: Tensor | float = 1.0,
    ) -> tuple[list[Tensor], Losses]:
        """One more map and, if there are targets, learn.

        Args:
            levels: all maps of the pyramid.
            sizes: of the images, before padding.
            targets: one per image, with masks, or None.
            share: factor on the loss, () or a number: of a micro-batch in its batch.

        Returns:
            `levels` and the features (B, channels, H, W); loss "semantic", a mean over cells, or
            nothing without targets.

        Raises:
            DataError: a target has no masks.
        """
        shared = self._shared(levels)
        features = functional.relu(self.embedding(shared))
        losses = {} if targets is None else self._loss(self.predictor(shared), sizes, targets)
        return [*levels, features], {name: share * loss for name, loss in losses.items()}

    def _shared(self, levels: Sequence[Tensor]) -> Tensor:
        """What logits and features are made from (B, channels, H, W)."""
        size = levels[self.level].shape[-2:]
        total = torch.zeros_like(levels[self.level])
        for layer, level in zip(self.laterals, levels, strict=True):
            if level.shape[-2:] != size:
                level = functional.interpolate(level, size, mode="bilinear", align_corners=True)
            total = total + functional.relu(layer(level))
        for layer in self.convolutions:
            total = functional.relu(layer(total))
        return total

    def _loss(self, logits: Tensor, sizes: Sequence[Size], targets: Sequence[Target]) -> Losses:
        cells = (logits.shape[-2], logits.shape[-1])
        images = zip(targets, sizes, strict=True)
        wanted = [
            semantic_labels(target, size, cells, stride=self.stride, background=self.num_classes)
            for target, size in images
        ]
        labels = torch.stack(wanted)
        with torch.autocast(logits.device.type, enabled=False):
            cost = functional.cross_entropy(
                logits.float(), labels, ignore_index=IGNORE, reduction="sum"
            )
            count = normalizer_over_processes((labels != IGNORE).sum().float())
        return {"semantic": self.weight * cost / count}


@torch.no_grad()
def semantic_labels(
    target: Target, size: Size, cells: tuple[int, int], *, stride: int, background: int
) -> Tensor:
    """What the cells of an image show at their centre: of several objects the smallest.

    Args:
        target: with masks; of two objects that of the smaller box is the smaller.
        size: of the image, before padding.
        cells: H and W.
        stride: side of a cell, in pixels.
        background: label of cells without object.

    Returns:
        (H, W) int64: a label, or `background`, or IGNORE in crowds and outside of the image.

    Raises:
        DataError: the target has no masks.
    """
    masks, boxes = masks_of(target), target["boxes"]
    y, x = (stride * (torch.arange(n, device=boxes.device) + 0.5) for n in cells)
    labels = torch.full(cells, background, device=boxes.device)
    for left, top, right, bottom in target.get("ignored", boxes[:0]):
        labels[((y > top) & (y < bottom))[:, None] & (x > left) & (x < right)] = IGNORE
    side = max(cells)
    frame = boxes.new_tensor([0, 0, side * stride, side * stride])
    order = box_area(boxes).argsort(descending=True, stable=True)
    for start in range(0, len(order), OBJECTS_AT_ONCE):
        own = order[start : start + OBJECTS_AT_ONCE]
        covered = rasterise_in_boxes(masks, own, frame.expand(len(own), 4), side)
        place = torch.arange(1, len(own) + 1, device=boxes.device)
        last = (covered[:, : cells[0], : cells[1]] * place[:, None, None]).amax(dim=0)
        labels = torch.where(last > 0, target["labels"][own][last - 1], labels)
    labels[y > size[0]] = IGNORE
    labels[:, x > size[1]] = IGNORE
    return labels
