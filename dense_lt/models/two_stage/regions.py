"""Regions: proposals matched to objects, a sample of them to learn from, and their features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from dense_lt.models.assigners.base import Assigner
from dense_lt.models.assigners.crowds import ignore_crowds
from dense_lt.ops.boxes import box_area
from dense_lt.ops.matching import labels_of_matches
from dense_lt.ops.roi_align import roi_align
from dense_lt.ops.sampling import generator_of, sample_matches
from dense_lt.structures import Priors, Target


class Regions(NamedTuple):
    """N boxes of several images, image after image."""

    boxes: Tensor  # (N, 4) float32 xyxy
    images: Tensor  # (N,) int64
    scores: Tensor | None = None  # (N,) in [0, 1], of the proposals that they come from

    @classmethod
    def join(cls, boxes: Sequence[Tensor], scores: Sequence[Tensor] | None = None) -> Regions:
        """Of B x (n, 4) and, if they are known, B x (n,)."""
        images = [torch.full((len(own),), i, device=own.device) for i, own in enumerate(boxes)]
        joined = None if scores is None else torch.cat(list(scores))
        return cls(torch.cat(list(boxes)), torch.cat(images), joined)

    def counts(self, num_images: int) -> list[int]:
        """Regions of each image."""
        return torch.bincount(self.images, minlength=num_images).tolist()


class SampledRegions(NamedTuple):
    """Regions that learn, and what."""

    regions: Regions
    labels: Tensor  # (N,) int64 in [0, C), or BACKGROUND
    truth: Tensor  # (N, 4) the object's box; of background the region itself
    objects: Tensor  # (N,) int64 index into the objects of the region's image, or BACKGROUND
    given: Tensor  # (N,) bool: the region is an object itself, not a proposal


class RegionSampler:
    """Matches the proposals of every image to its objects and draws those that learn."""

    def __init__(
        self,
        assigner: Assigner,
        *,
        count: int = 512,
        positive_fraction: float = 0.25,
        add_ground_truth: bool = True,
        stage: int = 1,
    ) -> None:
        """`assigner` must ignore nothing; see `RegionsConfig` for the rest.

        Samplers of different `stage` (1, 2, ...) draw independently of each other.
        """
        self.assigner = assigner
        self.count = count
        self.positive_fraction = positive_fraction
        self.add_ground_truth = add_ground_truth
        self.stage = stage

    @torch.no_grad()
    def __call__(self, proposals: Sequence[Tensor], targets: Sequence[Target]) -> SampledRegions:
        """Of B x (n, 4) proposals and B targets."""
        parts = [self._one(own, target) for own, target in zip(proposals, targets, strict=True)]
        boxes, *columns = (list(column) for column in zip(*parts, strict=True))
        return SampledRegions(Regions.join(boxes), *map(torch.cat, columns))

    def _one(self, boxes: Tensor, target: Target) -> tuple[Tensor, ...]:
        """Of one image: boxes, labels, truth, objects, given."""
        count = len(boxes)
        if self.add_ground_truth:
            boxes = torch.cat([boxes, target["boxes"]])
        matches = boxes.new_zeros(0, dtype=torch.int64)
        if len(boxes):
            matches = self.assigner(Priors(boxes, (len(boxes),), (1,)), target["boxes"])
            matches = ignore_crowds(matches, boxes, target)
        rows = sample_matches(
            matches,
            count=self.count,
            positive_fraction=self.positive_fraction,
            generator=generator_of(target, self.stage),
        )
        boxes, matches = boxes[rows], matches[rows]
        truth = boxes.clone()
        truth[matches >= 0] = target["boxes"][matches[matches >= 0]]
        labels = labels_of_matches(matches, target["labels"])
        return boxes, labels, truth, matches, rows >= count


class RegionPooling:
    """RoIAlign on the pyramid level that fits the size of each region.

    A region of canonical size (side = root of the area) is pooled from `canonical_level`, one of
    half that side from the level below.

    Source: Lin et al. 2017 (FPN), equation 1; He et al. 2017 (Mask R-CNN) for RoIAlign.
    """

    def __init__(
        self,
        strides: Sequence[int],
        *,
        size: int,
        first: int = 0,
        sampling_ratio: int = 0,
        aligned: bool = True,
        canonical_size: float = 224.0,
        canonical_level: int = 4,
        added: RegionPooling | None = None,
    ) -> None:
        """State the geometry.

        Args:
            strides: of the levels that are pooled.
            size: cells a side.
            first: where they begin in the pyramid.
            sampling_ratio: points per cell and axis, 0 for as many as it has pixels.
            aligned: see `RegionPoolConfig`.
            canonical_size: in pixels.
            canonical_level: level l has stride 2^l.
            added: pools other maps, whose features are added, averaged to `size` cells.
        """
        self.strides = tuple(strides)
        self.size = size
        self.first = first
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        self.canonical_size = canonical_size
        self.canonical_level = canonical_level
        self.added = added

    def __call__(self, levels: Sequence[Tensor], regions: Regions) -> Tensor:
        """Features (N, channels, size, size) float32; `levels`: all maps there are."""
        pooled = self._pool_levels(levels, regions)
        if self.added is None:
            return pooled
        return pooled + adaptive_avg_pool2d(self.added(levels, regions), self.size)

    def _pool_levels(self, levels: Sequence[Tensor], regions: Regions) -> Tensor:
        levels = [level.float() for level in levels[self.first :][: len(self.strides)]]
        rows = torch.cat([regions.images[:, None].to(regions.boxes.dtype), regions.boxes], dim=1)
        if len(levels) == 1:
            return self._pool(levels[0], rows, self.strides[0])
        chosen = self.levels_of(regions.boxes)
        pooled = []
        for number, (level, stride) in enumerate(zip(levels, self.strides, strict=True)):
            own = (chosen == number).nonzero().squeeze(1)
            pooled.append(self._pool(level, rows[own], stride))
        # The place of every region among those sorted by level; as long as `chosen`, for tracing.
        return torch.cat(pooled)[chosen.argsort(stable=True).argsort()]

    def levels_of(self, boxes: Tensor) -> Tensor:
        """(N,) int64 index of the level, among those that are pooled, of `boxes` (N, 4)."""
        size = box_area(boxes).sqrt() / self.canonical_size
        level = torch.floor(self.canonical_level + torch.log2(size) + 1e-6)
        lowest = int(math.log2(self.strides[0]))
        return (level - lowest).clamp(0, len(self.strides) - 1).long()

    def _pool(self, level: Tensor, rows: Tensor, stride: int) -> Tensor:
        return roi_align(level, rows, self.size, 1 / stride, self.sampling_ratio, self.aligned)
