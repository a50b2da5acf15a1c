"""Outlines of the objects of one image, as flat arrays that geometry changes exactly.

A mask as a picture costs H x W bytes an object and loses a little at every change; an outline costs
a few hundred bytes, and flips, crops and affine maps only move its corners. M objects own Q rings
of P corners in all. See `structures.Masks` for what a ring means; this is its NumPy side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dense_lt.data.contours import fill, trace
from dense_lt.data.segmentations import Segmentation, to_mask
from dense_lt.data.table import offsets_of


@dataclass(frozen=True, slots=True)
class Outlines:
    """M objects as rings of corners; a point is inside where the rings wind around it.

    Objects may have no ring at all (nothing was annotated, or nothing is left).
    """

    points: np.ndarray  # (P, 2) float32, x and y
    rings: np.ndarray  # (Q + 1,) int64: ring q is points[rings[q] : rings[q + 1]], closed
    objects: np.ndarray  # (M + 1,) int64: object m owns the rings objects[m] to objects[m + 1]

    @classmethod
    def from_rings(cls, objects: Sequence[Sequence[np.ndarray]]) -> Outlines:
        """Objects given as rings, each (n, 2)."""
        rings = [ring for one in objects for ring in one]
        points = np.concatenate([np.zeros((0, 2), dtype=np.float32), *rings], dtype=np.float32)
        return cls(
            points, offsets_of([len(ring) for ring in rings]), offsets_of([len(o) for o in objects])
        )

    @classmethod
    def from_segmentations(
        cls, segmentations: Sequence[Segmentation], size: tuple[int, int]
    ) -> Outlines:
        """Polygons become rings of one sense, so that they add up; run lengths are traced.

        Args:
            segmentations: of every object.
            size: (height, width) of the image.
        """
        return cls.from_rings([_rings(one, size) for one in segmentations])

    @classmethod
    def from_bitmaps(cls, bitmaps: np.ndarray) -> Outlines:
        """Trace (M, H, W) masks along the edges of their pixels; `to_bitmaps` gives them back."""
        return cls.from_rings([trace(bitmap) for bitmap in bitmaps])

    def __len__(self) -> int:
        return len(self.objects) - 1

    def to_bitmaps(self, size: tuple[int, int]) -> np.ndarray:
        """(M, H, W) uint8: 1 where the centre of a pixel is inside."""
        bitmaps = np.zeros((len(self), *size), dtype=np.uint8)
        for number, bitmap in enumerate(bitmaps):
            fill(self.rings_of(number), bitmap)
        return bitmaps

    def rings_of(self, number: int) -> list[np.ndarray]:
        """The rings of one object, each (n, 2)."""
        own = range(int(self.objects[number]), int(self.objects[number + 1]))
        return [self.points[self.rings[q] : self.rings[q + 1]] for q in own]

    def take(self, numbers: np.ndarray) -> Outlines:
        """Some of the objects, in this order."""
        return Outlines.from_rings([self.rings_of(int(number)) for number in numbers])

    def moved(self, matrix: np.ndarray) -> Outlines:
        """Every corner (x, y) goes to matrix @ (x, y, 1); `matrix` is (2, 3)."""
        matrix = np.asarray(matrix, dtype=np.float64)
        points = self.points @ matrix[:, :2].T + matrix[:, 2]
        return replace(self, points=points.astype(np.float32))

    def clipped(self, size: tuple[int, int]) -> Outlines:
        """What lies inside an image of `size` (height, width)."""
        clipped = self
        for axis, limit in ((0, size[1]), (1, size[0])):
            for bound, sign in ((0.0, 1.0), (float(limit), -1.0)):
                if (sign * (clipped.points[:, axis] - bound) < 0).any():
                    clipped = clipped._cut(axis, bound, sign)
        return clipped

    def boxes(self) -> np.ndarray:
        """(M, 4) float32 xyxy around every object, zeros where one has no ring."""
        boxes = np.zeros((len(self), 4), dtype=np.float32)
        first = self.rings[self.objects]  # where the corners of each object start
        present = np.flatnonzero(np.diff(first))
        if len(present):
            starts = first[present]
            boxes[present, :2] = np.minimum.reduceat(self.points, starts)
            boxes[present, 2:] = np.maximum.reduceat(self.points, starts)
        return boxes

    def boxes_within(self, size: tuple[int, int]) -> np.ndarray:
        """(M, 4) float32 around what is seen of every object in an image of `size`; zeros: nothing.

        For outlines that were clipped to `size`. Where clipping cuts a ring in two, it joins the
        parts along the border by edges that hold no area, and `boxes` would reach for these. An
        object reaches as far as its other edges do, and to the corners of the image inside it.
        """
        here, after = self.points, self.points[self._following()]
        owner = np.repeat(np.arange(len(self)), np.diff(self.rings[self.objects]))
        ends = np.array([[0, 0], size[::-1]], dtype=np.float32)
        along = ((here == ends[:, None]) & (after == ends[:, None])).any(axis=(0, 2))
        boxes = np.tile(
            np.array([np.inf, np.inf, -np.inf, -np.inf], dtype=np.float32), (len(self), 1)
        )
        np.minimum.at(boxes[:, :2], owner[~along], np.minimum(here, after)[~along])
        np.maximum.at(boxes[:, 2:], owner[~along], np.maximum(here, after)[~along])
        for x, y in ((0, 0), (0, 1), (1, 0), (1, 1)):
            corner = np.array([ends[x, 0], ends[y, 1]])
            holds = self._wind_around(corner + np.array([0.01 - 0.02 * x, 0.01 - 0.02 * y]), owner)
            boxes[holds, :2] = np.minimum(boxes[holds, :2], corner)
            boxes[holds, 2:] = np.maximum(boxes[holds, 2:], corner)
        return np.where(np.isfinite(boxes), boxes, np.float32(0))

    def areas(self) -> np.ndarray:
        """(M,) float64 square pixels; what two rings of an object share counts twice."""
        following = self._following()
        x, y = self.points.astype(np.float64).T
        swept = (x * y[following] - x[following] * y) / 2
        total = np.concatenate([[0.0], np.cumsum(swept)])
        first = self.rings[self.objects]
        return np.abs(total[first[1:]] - total[first[:-1]])

    def _wind_around(self, point: np.ndarray, owner: np.ndarray) -> np.ndarray:
        """(M,) bool: objects that hold a point (x, y); `owner` is the object of every corner."""
        here, after = self.points, self.points[self._following()]
        crossing = np.flatnonzero((here[:, 1] <= point[1]) != (after[:, 1] <= point[1]))
        here, after = here[crossing], after[crossing]
        part = (point[1] - here[:, 1]) / (after[:, 1] - here[:, 1])
        right = here[:, 0] + part * (after[:, 0] - here[:, 0]) > point[0]
        turns = np.where(after[:, 1] > here[:, 1], 1, -1) * right
        return np.bincount(owner[crossing], weights=turns, minlength=len(self)) != 0

    def _following(self) -> np.ndarray:
        """Index of the corner after each, around its ring: (P,)."""
        following = np.arange(1, len(self.points) + 1)
        full = np.diff(self.rings) > 0
        following[self.rings[1:][full] - 1] = self.rings[:-1][full]
        return following

    def _cut(self, axis: int, bound: float, sign: float) -> Outlines:
        """Keep one side of a line (Sutherland and Hodgman 1974), all rings at once.

        Where a ring is cut in two, its parts stay joined by edges along the line, which hold no
        area: the rule of winding is not disturbed by them.
        """
        following = self._following()
        here, after = self.points, self.points[following]
        distance = sign * (here[:, axis] - bound)
        inside = distance >= 0
        crosses = inside != inside[following]
        gap = np.where(crosses, distance - distance[following], 1.0)
        between = here + (distance / gap)[:, None] * (after - here)
        between[:, axis] = bound
        chosen = np.stack([inside, crosses], axis=1)  # a corner, then the crossing after it
        points = np.stack([here, between], axis=1)[chosen].astype(np.float32)
        counts = np.concatenate([[0], np.cumsum(chosen.sum(axis=1))])
        return Outlines(points, counts[self.rings], self.objects)


def concatenate(parts: Sequence[Outlines]) -> Outlines:
    """The objects of all parts, one part after the other."""
    return Outlines.from_rings([part.rings_of(m) for part in parts for m in range(len(part))])


def _rings(segmentation: Segmentation, size: tuple[int, int]) -> list[np.ndarray]:
    if not segmentation:
        return []
    if isinstance(segmentation, dict):
        return trace(to_mask(segmentation, *size))
    return [_clockwise(np.array(polygon).reshape(-1, 2)) for polygon in segmentation]


def _clockwise(ring: np.ndarray) -> np.ndarray:
    """`ring`, turned round if it runs the other way (as seen on a screen, with y downwards)."""
    x, y = ring.T
    area = x[:-1] @ y[1:] - x[1:] @ y[:-1] + x[-1] * y[0] - x[0] * y[-1]
    return ring if area >= 0 else ring[::-1]
