"""Mask head: pooled region and class in, a small mask out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from dense_lt.models.two_stage.box_head import normalized
from dense_lt.models.two_stage.regions import RegionPooling, Regions, SampledRegions
from dense_lt.ops.mask_targets import rasterise_in_boxes
from dense_lt.structures import Detections, Losses, Masks, Target
from dense_lt.utils.distributed import normalizer_over_processes
from dense_lt.utils.errors import DataError

REGIONS_AT_ONCE = 300
"""Detections whose features are held together; bounds the memory of inference."""


class MaskHead(nn.Module):
    """Convolutions, an upsampling by two, and one mask per class or one for all.

    Only the mask of the class that is asked for is made: its row of the last layer's weights is
    looked up, so that the number of classes decides neither time nor memory.

    Source: He et al. 2017 (Mask R-CNN).
    """

    def __init__(
        self,
        *,
        pooling: RegionPooling,
        in_channels: int,
        channels: int,
        num_convs: int,
        num_masks: int,
        temperature: float | None = None,
        flow: bool = False,
    ) -> None:
        """Build and initialise.

        Args:
            pooling: from maps and regions to features; masks are twice its size.
            in_channels: of the maps.
            channels: of every convolution.
            num_convs: before the upsampling.
            num_masks: C, or 1 if masks do not depend on the class.
            temperature: factor on a normalised last layer (Wang et al. 2021); None for a plain one.
            flow: features of the head of an earlier stage come in too (Chen et al. 2019).
        """
        super().__init__()
        self.pooling = pooling
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels if index else in_channels, channels, 3, padding=1)
            for index in range(num_convs)
        )
        self.upsampling = nn.ConvTranspose2d(channels if num_convs else in_channels, channels, 2, 2)
        self.predictor = nn.Conv2d(channels, num_masks, 1)
        self.temperature = temperature
        self.flow = nn.Conv2d(channels, in_channels, 1) if flow else None
        for layer in (*self.convolutions, self.upsampling, *([self.flow] if self.flow else [])):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)  # type: ignore[arg-type]

    def forward(
        self,
        levels: Sequence[Tensor],
        regions: Regions,
        labels: Tensor,
        earlier: Sequence[MaskHead] = (),
    ) -> Tensor:
        """Logits (N, 2S, 2S) of `regions` (N) for their classes `labels` (N,).

        Args:
            levels: all maps of the pyramid.
            regions: N of them.
            labels: (N,) int64 in [0, C).
            earlier: heads whose features flow into this one, one through the other.
        """
        pooled = self.pooling(levels, regions)
        before = None
        for head in earlier:
            before = head._features(pooled, before)
        features = functional.relu(self.upsampling(self._features(pooled, before)))
        weight, bias = self.predictor.weight.flatten(1), self.predictor.bias
        assert bias is not None
        if self.temperature is not None:
            features = self.temperature * normalized(features)
            weight = normalized(weight)
        rows = labels if len(weight) > 1 else torch.zeros_like(labels)
        logits = torch.einsum("nchw,nc->nhw", features, weight[rows].to(features.dtype))
        return logits + bias[rows, None, None]

    def _features(self, pooled: Tensor, before: Tensor | None) -> Tensor:
        """Before the upsampling (N, channels, S, S), of those of an earlier head too."""
        features = pooled
        if before is not None:
            assert self.flow is not None, "a head into which features flow is built for it"
            features = features + functional.relu(self.flow(before))
        for layer in self.convolutions:
            features = functional.relu(layer(features))
        return features


class MaskBranch(nn.Module):
    """What a mask head learns from sampled regions, and what it adds to detections."""

    def __init__(self, head: MaskHead, *, weight: float = 1.0) -> None:
        """`weight`: factor on the loss."""
        super().__init__()
        self.head = head
        self.weight = weight

    def forward(
        self,
        levels: Sequence[Tensor],
        sampled: SampledRegions,
        targets: Sequence[Target],
        *,
        share: Tensor | float = 1.0,
        earlier: Sequence[MaskHead] = (),
    ) -> Losses:
        """Loss "mask": cross-entropy of the masks of positive regions, a mean over their cells.

        Regions whose object has no outline in the annotations, or none left of it, teach nothing.

        Args:
            levels: all maps of the pyramid.
            sampled: regions of the images, image after image.
            targets: one per image, with masks.
            share: factor on the loss, () or a number: of a micro-batch in its batch.
            earlier: see `MaskHead`.

        Raises:
            DataError: a target has no masks.
        """
        rows = (sampled.labels >= 0).nonzero().squeeze(1)
        rows = rows[_has_outline(sampled.regions.images[rows], sampled.objects[rows], targets)]
        regions = Regions(sampled.regions.boxes[rows], sampled.regions.images[rows])
        logits = self.head(levels, regions, sampled.labels[rows], earlier).float()
        wanted = _targets(regions, sampled.objects[rows], targets, logits.shape[-1]).float()
        with torch.autocast(logits.device.type, enabled=False):
            cost = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
            count = normalizer_over_processes(logits.new_tensor(float(len(rows))))
        return {"mask": self.weight * cost * share / (count * logits.shape[-1] ** 2)}


@torch.no_grad()
def predict_masks(
    heads: Sequence[tuple[MaskHead, Sequence[MaskHead]]],
    levels: Sequence[Tensor],
    detections: Sequence[Detections],
) -> list[Detections]:
    """`detections`, one entry per image, with masks: means over `heads` and what flows into each.

    A part of an image at a time, to bound the memory.
    """
    found = []
    for image, own in enumerate(detections):
        parts = []
        for start in range(0, len(own.boxes), REGIONS_AT_ONCE):
            boxes = own.boxes[start : start + REGIONS_AT_ONCE]
            labels = own.labels[start : start + REGIONS_AT_ONCE]
            regions = Regions(boxes, torch.full_like(labels, image))
            masks = [head(levels, regions, labels, before) for head, before in heads]
            parts.append(torch.stack([own.float().sigmoid() for own in masks]).mean(dim=0))
        size = 2 * heads[0][0].pooling.size
        empty = own.boxes.new_zeros(0, size, size)
        found.append(replace(own, masks=torch.cat([empty, *parts])))
    return found


def _has_outline(images: Tensor, objects: Tensor, targets: Sequence[Target]) -> Tensor:
    """(N,) bool, of regions image after image: whether their object has an outline to teach."""
    parts = [
        (masks_of(target).objects.diff() > 0)[objects[images == image]]
        for image, target in enumerate(targets)
    ]
    return torch.cat(parts)


def _targets(regions: Regions, objects: Tensor, targets: Sequence[Target], size: int) -> Tensor:
    """(N, size, size) bool, image after image."""
    parts = []
    for image, target in enumerate(targets):
        masks, own = masks_of(target), regions.images == image
        parts.append(rasterise_in_boxes(masks, objects[own], regions.boxes[own], size))
    return torch.cat(parts)


def masks_of(target: Target) -> Masks:
    """The outlines in `target`.

    Raises:
        DataError: there are none.
    """
    if "masks" not in target:
        raise DataError(
            "model.mask: the model learns masks, but the annotations of a training image have "
            "no segmentations; use data with masks, or set model.mask: null"
        )
    return target["masks"]
