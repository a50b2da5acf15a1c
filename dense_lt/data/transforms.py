"""From the image on disk to the network's input; boxes, labels and masks stay in step.

Resizing, flips and transposition are done here, because albumentations' machinery costs more than
half a millisecond an image and the drawn images need a tenth of that; colour and whatever else a
configuration names are albumentations'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from dense_lt.data.albumentation import MIN_SIDE, Pipeline
from dense_lt.data.outlines import Outlines


class Annotated(NamedTuple):
    """An image and its M objects."""

    image: np.ndarray  # (H, W, 3) uint8, RGB
    boxes: np.ndarray  # (M, 4) float32 xyxy
    labels: np.ndarray  # (M,) int64
    masks: Outlines | None = None  # of the M objects

    def take(self, indices: np.ndarray) -> Annotated:
        """The same image with some of its objects."""
        masks = None if self.masks is None else self.masks.take(indices)
        return Annotated(self.image, self.boxes[indices], self.labels[indices], masks)


class Transform:
    """Resize, flip, transpose, jitter colours, and apply further albumentations transforms.

    What is random depends on the `key` of a call alone: the same key gives the same result in any
    process.

    Args:
        short_sides: candidates for the shorter side, pixels; empty keeps the size.
        long_side: cap of the longer side, pixels.
        horizontal_flip: probability.
        vertical_flip: probability.
        transpose: probability of exchanging the axes.
        extra: (name, arguments) of albumentations transforms, applied last, in this order.

    Raises:
        ConfigError: albumentations has no such transform, or refuses its arguments.
    """

    def __init__(
        self,
        *,
        short_sides: Sequence[int] = (),
        long_side: int = 1333,
        horizontal_flip: float = 0.0,
        vertical_flip: float = 0.0,
        transpose: float = 0.0,
        extra: Sequence[tuple[str, Mapping[str, object]]] = (),
    ) -> None:
        self._short_sides = tuple(short_sides)
        self._long_side = long_side
        self._probabilities = (horizontal_flip, vertical_flip, transpose)
        self._extra = Pipeline(extra) if extra else None

    def __call__(self, sample: Annotated, key: Sequence[int]) -> Annotated:
        """Change `sample`; boxes come back inside the image and not thinner than MIN_SIDE."""
        generator = np.random.default_rng(key)
        if self._short_sides:
            short = self._short_sides[generator.integers(len(self._short_sides))]
            sample = resize(sample, fit_size(sample.image.shape[:2], short, self._long_side))
        chances = generator.random(3) < self._probabilities
        for chosen, change in zip(
            chances, (flip_horizontally, flip_vertically, transpose), strict=True
        ):
            if chosen:
                sample = change(sample)
        sample = drop_small(sample)
        if self._extra is not None:
            sample = drop_small(_apply(self._extra, sample, seed=int(generator.integers(2**31))))
        return sample


def fit_size(size: tuple[int, int], short: int, long: int) -> tuple[int, int]:
    """(height, width) with the shorter side `short`, or with the longer one `long` if that is less.

    Each side is rounded to the nearest pixel, and at least 1.
    """
    scale = min(short / min(size), long / max(size))
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def resize(sample: Annotated, size: tuple[int, int]) -> Annotated:
    """Scale everything to `size` (height, width)."""
    image, boxes, labels, masks = sample
    height, width = image.shape[:2]
    if size == (height, width):
        return sample
    scale = np.array([size[1] / width, size[0] / height], dtype=np.float32)
    method = cv2.INTER_AREA if size[0] * size[1] < height * width else cv2.INTER_LINEAR
    image = cv2.resize(image, size[::-1], interpolation=method)
    if masks is not None:
        masks = replace(masks, points=masks.points * scale)
    return Annotated(image, boxes * np.tile(scale, 2), labels, masks)


def flip_horizontally(sample: Annotated) -> Annotated:
    """Exchange left and right."""
    image, boxes, labels, masks = sample
    width = image.shape[1]
    flipped = boxes.copy()
    flipped[:, [0, 2]] = width - boxes[:, [2, 0]]
    if masks is not None:
        masks = masks.moved(np.array([[-1, 0, width], [0, 1, 0]]))
    return Annotated(image[:, ::-1], flipped, labels, masks)


def flip_vertically(sample: Annotated) -> Annotated:
    """Exchange top and bottom."""
    image, boxes, labels, masks = sample
    height = image.shape[0]
    flipped = boxes.copy()
    flipped[:, [1, 3]] = height - boxes[:, [3, 1]]
    if masks is not None:
        masks = masks.moved(np.array([[1, 0, 0], [0, -1, height]]))
    return Annotated(image[::-1], flipped, labels, masks)


def transpose(sample: Annotated) -> Annotated:
    """Exchange the axes."""
    image, boxes, labels, masks = sample
    if masks is not None:
        masks = replace(masks, points=masks.points[:, ::-1].copy())
    return Annotated(image.transpose(1, 0, 2), boxes[:, [1, 0, 3, 2]], labels, masks)


def drop_small(sample: Annotated) -> Annotated:
    """Clip objects to the image and leave out those whose box has a side below MIN_SIDE."""
    height, width = sample.image.shape[:2]
    limit = np.array([width, height, width, height], dtype=np.float32)
    boxes = np.clip(sample.boxes, 0, limit)
    kept = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(axis=1))
    masks = None if sample.masks is None else sample.masks.clipped((height, width))
    sample = sample._replace(boxes=boxes, masks=masks)
    return sample if len(kept) == len(boxes) else sample.take(kept)


def _apply(pipeline: Pipeline, sample: Annotated, seed: int) -> Annotated:
    """Outlines go through as pictures, the one form that every transform knows, if they must."""
    image, boxes, labels, outlines = sample
    drawn = outlines is not None and pipeline.moves_pixels
    bitmaps = outlines.to_bitmaps(image.shape[:2]) if outlines is not None and drawn else None
    image, boxes, kept, bitmaps = pipeline(image, boxes, bitmaps, seed=seed)
    if bitmaps is not None:
        outlines = Outlines.from_bitmaps(bitmaps)
    elif outlines is not None and len(kept) < len(outlines):
        outlines = outlines.take(kept)
    return Annotated(image, boxes, labels[kept], outlines)
