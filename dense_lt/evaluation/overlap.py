"""Which detections overlap which objects of their image and category enough to match them?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.boundary import boundary_iou
from dense_lt.evaluation.masks import Rle, mask_tools
from dense_lt.evaluation.pairing import pairs_by_key, run_starts
from dense_lt.evaluation.ranking import HOLDS_OBJECTS, Objects, Ranking
from dense_lt.evaluation.rules import IOU_THRESHOLDS, IouType


@dataclass(frozen=True)
class Pairs:
    """P pairs of one image and category, with IoU of at least the lowest threshold.

    Ordered by position in the ranking, then by object.
    """

    detection: NDArray[np.int64]  # (P,) position in the ranking
    object: NDArray[np.int64]  # (P,) index of the object
    iou: NDArray[np.float64]  # (P,)

    def take(self, indices: NDArray[np.int64]) -> Pairs:
        """The pairs at `indices`."""
        return Pairs(self.detection[indices], self.object[indices], self.iou[indices])

    @classmethod
    def join(cls, parts: Sequence[Pairs]) -> Pairs:
        """All pairs of `parts`, in order."""
        return cls(
            np.concatenate([part.detection for part in parts]),
            np.concatenate([part.object for part in parts]),
            np.concatenate([part.iou for part in parts]),
        )


def overlapping_pairs(
    ranking: Ranking, objects: Objects, num_categories: int, iou_type: IouType = "bbox"
) -> Pairs:
    """All pairs of detection and object that could match."""
    found: list[Pairs] = [Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    overlap = _BoxOverlap(ranking, objects)
    masks = _MaskOverlap(ranking, objects) if ranking.masks is not None else None
    for detection, target in _same_cell(ranking, objects, num_categories):
        pairs = overlap(detection, target) if masks is None else masks(overlap, detection, target)
        pairs = pairs.take(np.flatnonzero(pairs.iou >= IOU_THRESHOLDS[0]))
        if iou_type == "boundary" and masks is not None:
            pairs = masks.with_outlines(pairs)
        found.append(pairs)
    return Pairs.join(found)


def _same_cell(
    ranking: Ranking, objects: Objects, num_categories: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Detections and objects of the same image and category, piece by piece."""
    detections = np.flatnonzero(ranking.cells & HOLDS_OBJECTS)
    image, category = ranking.image[detections].astype(np.int64), ranking.category[detections]
    object_keys = objects.image.astype(np.int64) * num_categories + objects.category
    for detection, target in pairs_by_key(image * num_categories + category, object_keys):
        yield detections[detection], target


class _Corners:
    """Columns of boxes xywh (n, 4)."""

    def __init__(self, boxes: NDArray[np.float64]) -> None:
        self.left, self.top, width, height = np.ascontiguousarray(boxes.T)
        self.right, self.bottom, self.area = self.left + width, self.top + height, width * height


class _BoxOverlap:
    """IoU of boxes in the order of operations of pycocotools' bbIou: equal to the last bit."""

    def __init__(self, ranking: Ranking, objects: Objects) -> None:
        self.detections, self.objects = _Corners(ranking.boxes), _Corners(objects.boxes)
        self.crowd = objects.crowd

    def intersection(
        self, detection: NDArray[np.int64], target: NDArray[np.int64]
    ) -> tuple[Pairs, NDArray[np.float64]]:
        """The pairs that touch (their `iou` still unset), and the area they share."""
        one, other = self.detections, self.objects
        width = np.minimum(one.right[detection], other.right[target])
        width -= np.maximum(one.left[detection], other.left[target])
        touch = np.flatnonzero(width > 0)
        detection, target, width = detection[touch], target[touch], width[touch]
        height = np.minimum(one.bottom[detection], other.bottom[target])
        height -= np.maximum(one.top[detection], other.top[target])
        touch = np.flatnonzero(height > 0)
        shared = width[touch] * height[touch]
        return Pairs(detection[touch], target[touch], shared), shared

    def __call__(self, detection: NDArray[np.int64], target: NDArray[np.int64]) -> Pairs:
        """IoU of pairs; a crowd's is the fraction of the detection inside it."""
        pairs, shared = self.intersection(detection, target)
        own = self.detections.area[pairs.detection]
        union = own + self.objects.area[pairs.object] - shared
        union = np.where(self.crowd[pairs.object], own, union)
        return replace(pairs, iou=shared / union)


class _MaskOverlap:
    """IoU of masks, taken only where boxes and areas leave a match possible."""

    def __init__(self, ranking: Ranking, objects: Objects) -> None:
        assert ranking.masks is not None, "masks are scored"
        assert objects.masks is not None, "masks are scored"
        self.ranking, self.objects = ranking, objects
        self.detections, self.targets = ranking.masks, objects.masks

    def __call__(
        self, boxes: _BoxOverlap, detection: NDArray[np.int64], target: NDArray[np.int64]
    ) -> Pairs:
        """IoU of the pairs whose IoU can reach the lowest threshold."""
        pairs, shared = boxes.intersection(detection, target)
        own = self.ranking.mask_areas[pairs.detection]
        other = self.objects.mask_areas[pairs.object]
        # Masks share at most the smaller mask, and at most what their boxes share.
        most = np.minimum(np.minimum(own, other), shared)
        union = np.where(self.objects.crowd[pairs.object], own, own + other - most)
        pairs = pairs.take(np.flatnonzero(most >= IOU_THRESHOLDS[0] * union))
        return replace(pairs, iou=self._iou(pairs.detection, pairs.object))

    def with_outlines(self, pairs: Pairs) -> Pairs:
        """The pairs whose outlines agree enough, too; IoU is then the smaller of the two."""
        indices = (pairs.detection, pairs.object)
        outline = boundary_iou(self.detections, self.targets, indices, self.objects.crowd)
        pairs = replace(pairs, iou=np.minimum(pairs.iou, outline))
        return pairs.take(np.flatnonzero(pairs.iou >= IOU_THRESHOLDS[0]))

    def _iou(self, detection: NDArray[np.int64], target: NDArray[np.int64]) -> NDArray[np.float64]:
        """One call of pycocotools for each image and category, which costs more than its work."""
        if not len(detection):
            return np.zeros(0)
        image = self.ranking.image[detection].astype(np.int64)
        category = self.ranking.category[detection]
        cell = image * (1 + int(category.max())) + category
        order = np.argsort(cell, kind="stable")
        stops = np.append(run_starts(cell[order])[1:], len(cell)).tolist()
        rows, row = np.unique(detection, return_inverse=True)
        columns, column = np.unique(target, return_inverse=True)
        masks = (self.detections.take(rows), self.targets.take(columns))
        crowd = self.objects.crowd[columns].astype(int).tolist()
        own, others, values = row[order].tolist(), column[order].tolist(), []
        for start, stop in zip([0, *stops[:-1]], stops, strict=True):
            values.append(_iou_in_cell(masks, crowd, own[start:stop], others[start:stop]))
        iou = np.empty(len(detection))
        iou[order] = np.concatenate(values)
        return iou


def _iou_in_cell(
    masks: tuple[list[Rle], list[Rle]], crowd: list[int], own: list[int], others: list[int]
) -> NDArray[np.float64]:
    """IoU of pairs of indices into `masks`; short lists, which Python handles faster than NumPy."""
    row = {index: number for number, index in enumerate(dict.fromkeys(own))}
    column = {index: number for number, index in enumerate(dict.fromkeys(others))}
    matrix = mask_tools().iou(
        [masks[0][index] for index in row],
        [masks[1][index] for index in column],
        [crowd[index] for index in column],
    )
    return matrix[[row[index] for index in own], [column[index] for index in others]]
