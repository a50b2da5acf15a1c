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
from dense_lt.structures import Detections, Losses, Target
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
    ) -> None:
        """Build and initialise.

        Args:
            pooling: from maps and regions to features; masks are twice its size.
            in_channels: of the maps.
            channels: of every convolution.
            num_convs: before the upsampling.
            num_masks: C, or 1 if masks do not depend on the class.
            temperature: factor on a normalised last layer (Wang et al. 2021); None for a plain one.
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
        for layer in (*self.convolutions, self.upsampling):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)  # type: ignore[arg-type]

    def forward(self, levels: Sequence[Tensor], regions: Regions, labels: Tensor) -> Tensor:
        """Logits (N, 2S, 2S) of `regions` (N) for their classes `labels` (N,)."""
        features = self.pooling(levels, regions)
        for layer in self.convolutions:
            features = functional.relu(layer(features))
        features = functional.relu(self.upsampling(features))  # (N, channels, 2S, 2S)
        weight, bias = self.predictor.weight.flatten(1), self.predictor.bias
        assert bias is not None
        if self.temperature is not None:
            features = self.temperature * normalized(features)
            weight = normalized(weight)
        rows = labels if len(weight) > 1 else torch.zeros_like(labels)
        logits = torch.einsum("nchw,nc->nhw", features, weight[rows].to(features.dtype))
        return logits + bias[rows, None, None]


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
    ) -> Losses:
        """Loss "mask": cross-entropy of the masks of positive regions, a mean over their cells.

        Args:
            levels: all maps of the pyramid.
            sampled: regions of the images, image after image.
            targets: one per image, with masks.
            share: factor on the loss, () or a number: of a micro-batch in its batch.

        Raises:
            DataError: a target has no masks.
        """
        rows = (sampled.labels >= 0).nonzero().squeeze(1)
        regions = Regions(sampled.regions.boxes[rows], sampled.regions.images[rows])
        logits = self.head(levels, regions, sampled.labels[rows]).float()
        wanted = _targets(regions, sampled.objects[rows], targets, logits.shape[-1]).float()
        with torch.autocast(logits.device.type, enabled=False):
            cost = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
            count = normalizer_over_processes(logits.new_tensor(float(len(rows))))
        return {"mask": self.weight * cost * share / (count * logits.shape[-1] ** 2)}

    @torch.no_grad()
    def predict(
        self, levels: Sequence[Tensor], detections: Sequence[Detections]
    ) -> list[Detections]:
        """`detections`, one entry per image, with masks; a part of an image at a time."""
        found = []
        for image, own in enumerate(detections):
            parts = [
                self.head(levels, Regions(boxes, torch.full_like(labels, image)), labels)
                for boxes, labels in zip(
                    own.boxes.split(REGIONS_AT_ONCE), own.labels.split(REGIONS_AT_ONCE), strict=True
                )
            ]
            found.append(replace(own, masks=torch.cat(parts).float().sigmoid()))
        return found


def _targets(regions: Regions, objects: Tensor, targets: Sequence[Target], size: int) -> Tensor:
    """(N, size, size) bool, image after image."""
    parts = []
    for image, target in enumerate(targets):
        if "masks" not in target:
            raise DataError(
                "model.mask: the model learns masks, but the annotations of a training image have "
                "no segmentations; use data with masks, or set model.mask: null"
            )
        own = regions.images == image
        parts.append(rasterise_in_boxes(target["masks"], objects[own], regions.boxes[own], size))
    return torch.cat(parts)
