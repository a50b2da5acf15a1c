"""The vocabulary: the structures that pass between data, models, losses and evaluation.

Letters, the same in the whole project: B images in a batch, H W height and width, M ground-truth
objects of one image, L pyramid levels, A priors per location, R priors of one image over all levels
(R_l on level l), N entries a loss sees, C foreground classes, K logits per entry, D detections of
one image.

Boxes are xyxy in absolute pixels, float32, continuous coordinates (width = x2 - x1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, NotRequired, TypedDict

import torch
from torch import Tensor

Size = tuple[int, int]
"""(height, width) in pixels, everywhere."""

Losses = dict[str, Tensor]
"""Name -> scalar (), already weighted; their sum is what is minimised."""


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Images of one batch, padded right and bottom to a common size.

    Pixels stay uint8 until the detector normalises them on its own device: a quarter of the
    bytes to move, and normalisation has one home.
    """

    pixels: Tensor  # (B, 3, H, W) uint8, RGB
    sizes: tuple[Size, ...]  # B entries, before padding

    def to(self, device: torch.device) -> ImageBatch:
        """The same batch on `device`."""
        return ImageBatch(self.pixels.to(device, non_blocking=True), self.sizes)

    def pin_memory(self) -> ImageBatch:
        """The same batch in page-locked memory; a DataLoader calls it by this name."""
        return ImageBatch(self.pixels.pin_memory(), self.sizes)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the metric must know of an image and the network must not."""

    image_id: int
    original_size: Size
    input_size: Size  # after resizing, before padding
    negative_labels: frozenset[int] = frozenset()  # verified to be absent
    not_exhaustive_labels: frozenset[int] = frozenset()  # present, but not every one annotated


@dataclass(frozen=True, slots=True)
class Masks:
    """Outlines of the M objects of one image: Q closed rings of P corners in all.

    A point is inside an object where the object's rings wind around it: where the winding number,
    summed over its rings, is not 0. So parts add up and rings in the other sense cut holes, whether
    the image was flipped or not. Coordinates are those of boxes: pixel (row i, column j) covers
    [j, j + 1] x [i, i + 1], and is set when its centre is inside.
    """

    points: Tensor  # (P, 2) float32 x and y, pixels of the network input
    rings: Tensor  # (Q + 1,) int64: ring q is points[rings[q] : rings[q + 1]], perhaps empty
    objects: Tensor  # (M + 1,) int64: object m owns the rings objects[m] to objects[m + 1]

    def __len__(self) -> int:
        return len(self.objects) - 1

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Masks:
        """The same outlines on `device`."""
        return Masks(
            self.points.to(device, non_blocking=non_blocking),
            self.rings.to(device, non_blocking=non_blocking),
            self.objects.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> Masks:
        """The same outlines in page-locked memory; a DataLoader calls it by this name."""
        return Masks(self.points.pin_memory(), self.rings.pin_memory(), self.objects.pin_memory())


class Target(TypedDict):
    """Ground truth of one image, in the pixels of the network input."""

    boxes: Tensor  # (M, 4) float32 xyxy
    labels: Tensor  # (M,) int64 in [0, C)
    masks: NotRequired[Masks]  # of M objects, present when masks are learnt
    checked: NotRequired[Tensor]  # (C,) bool: classes whose objects are all marked; absent: all are
    ignored: NotRequired[Tensor]  # (G, 4) float32 xyxy: crowds, no background; G is not 0
    chance: NotRequired[Tensor]  # () int64: seeds what is drawn for the image; absent: unseeded


class Sample(TypedDict):
    """One item of a data set."""

    image: Tensor  # (3, H, W) uint8, RGB
    target: Target
    info: ImageInfo


class Batch(NamedTuple):
    """What a loader yields; each field has B entries."""

    images: ImageBatch
    targets: list[Target]
    infos: list[ImageInfo]

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`; infos stay where they are."""
        targets: list[Target] = [
            {name: tensor.to(device, non_blocking=True) for name, tensor in target.items()}  # type: ignore[misc,attr-defined]
            for target in self.targets
        ]
        return Batch(self.images.to(device), targets, self.infos)


@dataclass(frozen=True, slots=True)
class Priors:
    """The boxes a dense head starts from, level after level, finest first."""

    boxes: Tensor  # (R, 4) float32 xyxy
    counts: tuple[int, ...]  # R_l of every level; their sum is R
    strides: tuple[int, ...]  # pixels, one per level

    def split(self, values: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
        """Cut the axis of length R of `values` into the levels' pieces (views)."""
        return torch.split(values, list(self.counts), dim=dim)


@dataclass(frozen=True, slots=True)
class DensePredictions:
    """Raw outputs of a dense head, one entry per level; never concatenated over levels.

    A head whose loss makes the logits itself (the fused head) gives `classifier_inputs` instead
    of `logits`.
    """

    logits: tuple[Tensor, ...]  # L x (B, R_l, K)
    codes: tuple[Tensor, ...]  # L x (B, R_l, 4), read by a BoxCoder
    quality: tuple[Tensor, ...] | None = None  # L x (B, R_l), logit of localisation quality
    classifier_inputs: tuple[Tensor, ...] = ()  # L x (B, channels, H_l, W_l)


@dataclass(frozen=True, slots=True)
class Detections:
    """Detections of one image, best first."""

    boxes: Tensor  # (D, 4) float32 xyxy, pixels of the network input, clipped to the image
    scores: Tensor  # (D,) float32 in [0, 1]
    labels: Tensor  # (D,) int64 in [0, C)
    masks: Tensor | None = None  # (D, 28, 28) float32 probabilities inside each box
