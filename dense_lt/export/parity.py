"""Does a file give what PyTorch gives?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dense_lt.export.tracing import trial_images
from dense_lt.models.detector import Detector
from dense_lt.structures import ImageBatch, Size
from dense_lt.utils.errors import ConfigError

Program = Callable[[Tensor, Tensor], Sequence[Tensor]]
"""Pixels (B, 3, H, W) and sizes (B, 2) -> the outputs."""

BATCHES = (1, 3)
"""Numbers of images."""

BOX_TOLERANCE = 0.05
"""Pixels."""

SCORE_TOLERANCE = 1e-4

MASK_TOLERANCE = 1e-3

ODD_SHARE = 0.01
"""Of the detections may have no counterpart: where two scores, or an overlap and its limit, are
equal up to rounding, suppression and caps fall either way."""


@dataclass(frozen=True)
class Difference:
    """The largest differences of two results."""

    boxes: float  # pixels
    scores: float
    odd: int = 0  # detections without counterpart
    count: int = 0  # detections
    masks: float = 0.0

    def __or__(self, other: Difference) -> Difference:
        """Of both."""
        return Difference(
            max(self.boxes, other.boxes),
            max(self.scores, other.scores),
            self.odd + other.odd,
            self.count + other.count,
            max(self.masks, other.masks),
        )

    def __str__(self) -> str:
        odd = f"; {self.odd} of {self.count} detections without counterpart" if self.odd else ""
        masks = f", masks {self.masks:.2g}" if self.masks else ""
        return f"boxes {self.boxes:.2g} pixels, scores {self.scores:.2g}{masks}{odd}"

    def check(self) -> None:
        """Refuse differences that rounding does not explain.

        Raises:
            ConfigError: so it is.
        """
        close = self.boxes <= BOX_TOLERANCE and self.scores <= SCORE_TOLERANCE  # False of nan
        if not close or self.odd > ODD_SHARE * self.count:
            raise ConfigError(
                f"the exported program differs from PyTorch: {self}; allowed: boxes "
                f"{BOX_TOLERANCE:g} pixels, scores {SCORE_TOLERANCE:g}, {ODD_SHARE:.0%} of the "
                "detections. No file was written; try the other --format, or --output raw"
            )


def compare(program: Program, reference: Program, sizes: Sequence[Size]) -> Difference:
    """Run both on batches of `BATCHES` images of each of `sizes`.

    Raises:
        ConfigError: one of them fails.
    """
    difference = Difference(0.0, 0.0)
    for size in sizes:
        for count in BATCHES:
            images = trial_images(count, size)
            try:
                with torch.no_grad():
                    given, expected = program(*images), reference(*images)
            except Exception as error:
                raise ConfigError(
                    f"the exported program fails on {count} images of {size[0]} x {size[1]} "
                    f"pixels: {str(error).splitlines()[0]}. No file was written; give --size, or "
                    "the other --format"
                ) from error
            same = {2: compare_raw, 3: compare_regions}.get(len(given), compare_detections)
            difference |= same(given, expected)
    return difference


def as_predicted(detector: Detector) -> Program:
    """What the detector itself finds, as `DetectionOutput` and `RegionDetectionOutput` give it."""

    def run(pixels: Tensor, sizes: Tensor) -> list[Tensor]:
        found = detector(ImageBatch(pixels, tuple((h, w) for h, w in sizes.tolist())))
        images = [torch.full_like(own.labels, i) for i, own in enumerate(found)]
        columns = ([own.boxes, own.scores, own.labels] for own in found)
        masks = [own.masks for own in found if own.masks is not None]
        parts = (*zip(*columns, strict=True), images, *([masks] if masks else []))
        return [torch.cat(part) for part in parts]

    return run


def compare_raw(given: Sequence[Tensor], expected: Sequence[Tensor]) -> Difference:
    """Of scores (B, R, C) and boxes (B, R, 4)."""
    scores, boxes = (_largest(a, b) for a, b in zip(given, expected, strict=True))
    return Difference(boxes, scores)


def compare_regions(given: Sequence[Tensor], expected: Sequence[Tensor]) -> Difference:
    """Of scores (B, P, C), boxes (B, P, C or 1, 4) and proposals (B, P, 4), in any order of P.

    Rounding may swap proposals that score alike; their counterparts are the nearest proposals.
    """
    if [own.shape for own in given] != [own.shape for own in expected]:
        return Difference(float("inf"), float("inf"))
    difference = Difference(0.0, 0.0)
    for image in range(len(given[0])):
        one, two = ([own[image] for own in side] for side in (given, expected))
        difference |= _compare_rows(one, two) | _compare_rows(two, one)
    return difference


def _compare_rows(given: Sequence[Tensor], expected: Sequence[Tensor]) -> Difference:
    """Of one image, from `given` to the nearest of `expected`."""
    nearest = (given[2][:, None] - expected[2]).abs().amax(-1).argmin(1)
    scores, boxes, places = (
        (own - other[nearest]).abs().flatten(1).amax(1)
        for own, other in zip(given, expected, strict=True)
    )
    boxes = boxes.maximum(places)
    same = (boxes <= BOX_TOLERANCE) & (scores <= SCORE_TOLERANCE)
    real = int((given[2][:, 2] > given[2][:, 0]).sum())  # others fill up
    if not same.any():
        return Difference(0.0, 0.0, int((~same).sum()), real)
    largest = float(boxes[same].max()), float(scores[same].max())
    return Difference(*largest, int((~same).sum()), real)


def compare_detections(given: Sequence[Tensor], expected: Sequence[Tensor]) -> Difference:
    """Of boxes (D, 4), scores (D,), labels (D,), images (D,) and perhaps masks (D, S, S).

    Their order does not matter.

    Two detections of one class and image are counterparts if they are equal up to the tolerances.
    """
    one, two = (
        torch.cat([boxes, scores[:, None]], dim=1).double()
        for boxes, scores, *_ in (given, expected)
    )
    apart = (one[:, None] - two).abs()  # (D, E, 5)
    boxes, scores = apart[..., :4].amax(-1), apart[..., 4]
    pairs = (boxes <= BOX_TOLERANCE) & (scores <= SCORE_TOLERANCE)
    for a, b in zip(given[2:4], expected[2:4], strict=True):
        pairs &= a[:, None] == b
    masks = 0.0
    for a, b in zip(given[4:], expected[4:], strict=True):
        first, second = pairs.nonzero().unbind(1)
        unlike = (a[first] - b[second]).abs().flatten(1).amax(1)
        pairs[first, second] = unlike <= MASK_TOLERANCE
        masks = max(unlike[unlike <= MASK_TOLERANCE].tolist(), default=0.0)
    odd = int((~pairs.any(1)).sum() + (~pairs.any(0)).sum())
    if not pairs.any():
        return Difference(0.0, 0.0, odd, len(one) + len(two))
    largest = float(boxes[pairs].max()), float(scores[pairs].max())
    return Difference(*largest, odd, len(one) + len(two), masks)


def _largest(given: Tensor, expected: Tensor) -> float:
    if given.shape != expected.shape:
        return float("inf")
    return float((given - expected).abs().max())
