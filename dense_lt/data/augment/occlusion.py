"""What is still seen of objects when others are laid over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dense_lt.data.augment.geometry import join, move_objects, shift
from dense_lt.data.contours import trace
from dense_lt.data.outlines import Outlines
from dense_lt.data.transforms import Annotated


class Layers:
    """An image over which further objects are laid, one after the other.

    What is laid on top hides what is below: an object keeps what is still seen of its outline (of
    its box, if it has none), its box shrinks with it, and it is left out when no more than
    `min_visible` of what it was at first is still seen. Untouched objects stay exactly as they are.

    Args:
        sample: the lowest layer; not changed.
        min_visible: part of the pixels of an object.
    """

    def __init__(self, sample: Annotated, min_visible: float) -> None:
        self.sample = sample
        self._min_visible = min_visible
        self._image = sample.image.copy()
        self._whole = np.zeros(len(sample.boxes), dtype=np.int64)  # pixels at first; 0: untouched

    def lay(self, top: Annotated, region: np.ndarray, corner: tuple[int, int]) -> None:
        """Lay the pixels of `top` inside `region` over the image, and its objects with them.

        Args:
            top: (h, w, 3) pixels and their objects.
            region: (h, w) bool.
            corner: where the top left corner of `top` goes, (x, y); all of it must fit in.
        """
        x, y = corner
        height, width = region.shape
        self._image[y : y + height, x : x + width][region] = top.image[region]
        self._hide(region, x, y)
        moved = move_objects(top, shift(x, y), self._image)
        self.sample = join(self._image, [self.sample, moved])
        self._whole = np.append(self._whole, np.zeros(len(moved.boxes), dtype=np.int64))

    def _hide(self, region: np.ndarray, x: int, y: int) -> None:
        """Take the pixels of `region`, whose corner is at (x, y), from every object."""
        height, width = region.shape
        boxes, masks = self.sample.boxes.copy(), self.sample.masks
        meets = (boxes[:, :2] < (x + width, y + height)).all(axis=1)
        meets &= (boxes[:, 2:] > (x, y)).all(axis=1)
        gone: list[int] = []
        outlines: dict[int, list[np.ndarray]] = {}
        for number in np.flatnonzero(meets).tolist():
            seen, (left, top) = _pixels(self.sample, number)
            before = seen.copy()
            seen &= ~_cut(region, (left - x, top - y), seen.shape)
            if (seen == before).all():
                continue
            self._whole[number] = self._whole[number] or before.sum()
            if seen.sum() <= self._min_visible * self._whole[number]:
                gone.append(number)
                continue
            boxes[number] += _shrinkage(before, seen)
            if masks is not None and masks.rings_of(number):
                corner = np.array([left, top], dtype=np.float32)
                outlines[number] = [ring + corner for ring in trace(seen)]
        if masks is not None and outlines:
            masks = _exchange(masks, outlines)
        kept = np.setdiff1d(np.arange(len(boxes)), gone)
        self.sample = self.sample._replace(boxes=boxes, masks=masks).take(kept)
        self._whole = self._whole[kept]


def _pixels(sample: Annotated, number: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Pixels of an object inside its box (h, w) bool, and the corner (x, y) of these."""
    height, width = sample.image.shape[:2]
    x1, y1, x2, y2 = sample.boxes[number].tolist()
    left, top = max(int(x1), 0), max(int(y1), 0)
    size = min(int(np.ceil(y2)), height) - top, min(int(np.ceil(x2)), width) - left
    if sample.masks is None or not sample.masks.rings_of(number):
        return np.ones(size, dtype=bool), (left, top)
    outline = sample.masks.take(np.array([number])).moved(shift(-left, -top))
    return outline.to_bitmaps(size)[0] != 0, (left, top)


def _cut(region: np.ndarray, corner: tuple[int, int], size: Sequence[int]) -> np.ndarray:
    """The part of `region` from `corner` (x, y) on, (h, w) bool; False where it does not reach."""
    x, y = corner
    part = np.zeros(size, dtype=bool)
    inside = region[max(y, 0) : y + size[0], max(x, 0) : x + size[1]]
    top, left = max(-y, 0), max(-x, 0)
    part[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return part


def _shrinkage(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How far the sides of a box must move when its object loses pixels: (4,) float32 xyxy."""
    return (_bounds(after) - _bounds(before)).astype(np.float32)


def _bounds(pixels: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def _exchange(masks: Outlines, new: dict[int, list[np.ndarray]]) -> Outlines:
    return Outlines.from_rings([new.get(m) or masks.rings_of(m) for m in range(len(masks))])
