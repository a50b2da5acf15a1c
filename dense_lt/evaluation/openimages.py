"""The Open Images challenge metric: average precision at IoU 0.5 with hierarchy and group-of boxes.

The rules are those of TensorFlow's OpenImagesChallengeEvaluator (weight 1 for group-of boxes):

1. Detections of a class count in an image if the class was verified there or has a box there.
2. A detection looks only at the single box it overlaps most (the first among equals). If IoU >= 0.5
   and no better score took that box, it is a true positive.
3. Detections that are no true positive look at the group-of box that holds most of them. If at
   least half of their area is inside, the best of them is one true positive for the group, the
   others vanish; one with score 0 is lost.
4. Everything else is a false positive. A box or a group that nothing found is a false negative.
5. Average precision is the area under the precision envelope (PASCAL VOC 2010). Classes without
   boxes are left out of the mean.

Ties are undefined in the reference (its sort is not stable, and differs from CPU to CPU); here
equal scores are ranked by ImageID, then by the row of the file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.openimages_predictions import OpenImagesPredictions
from dense_lt.evaluation.openimages_truth import OpenImagesTruth
from dense_lt.evaluation.pairing import pairs_by_key, run_starts

THRESHOLD = 0.5
"""Least IoU with a box, and least part of a detection inside a group-of box."""


@dataclass(frozen=True)
class RankedEntries:
    """True and false positives by class, then falling score, then image, then row."""

    category: NDArray[np.int32]  # (E,)
    image: NDArray[np.int32]  # (E,)
    true: NDArray[np.bool_]  # (E,)


def rank_entries(truth: OpenImagesTruth, found: OpenImagesPredictions) -> RankedEntries:
    """Match all detections of all classes and images at once; rules 2 to 4."""
    order = np.lexsort((found.image, -found.scores, found.category))
    image, category = found.image[order], found.category[order]
    scores, boxes = found.scores[order], found.boxes[order]
    classes = len(truth.classes)
    keys = image.astype(np.int64) * classes + category
    object_keys = truth.image.astype(np.int64) * classes + truth.category

    single = np.flatnonzero(~truth.group_of)
    best, overlap = _best(boxes, keys, truth.boxes[single], object_keys[single], inside_only=False)
    true = np.zeros(len(order), bool)
    true[_first_of_each(best, np.flatnonzero(overlap >= THRESHOLD))] = True

    group = np.flatnonzero(truth.group_of)
    rest = np.flatnonzero(~true)
    best, overlap = _best(
        boxes[rest], keys[rest], truth.boxes[group], object_keys[group], inside_only=True
    )
    inside = np.flatnonzero(overlap >= THRESHOLD)
    leader = rest[_first_of_each(best, inside)]
    counted = np.ones(len(order), bool)
    counted[rest[inside]] = False
    leader = leader[scores[leader] > 0]
    counted[leader] = true[leader] = True
    return RankedEntries(category[counted], image[counted], true[counted])


def _best(
    boxes: NDArray[np.float64],
    keys: NDArray[np.int64],
    objects: NDArray[np.float64],
    object_keys: NDArray[np.int64],
    *,
    inside_only: bool,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The object with the same key that each box overlaps most, and how much; (D,) each.

    Overlap is IoU, or with `inside_only` the part of the box that is inside the object; -1 where
    there is no object.
    """
    best, most = np.full(len(boxes), -1), np.full(len(boxes), -1.0)
    area, object_area = _area(boxes), _area(objects)
    for detection, target in pairs_by_key(keys, object_keys):
        if not len(detection):
            continue
        shared = _shared(boxes[detection], objects[target])
        whole = area[detection]
        if not inside_only:
            whole = whole + object_area[target] - shared
        overlap = shared / whole
        starts = run_starts(detection)
        largest = np.maximum.reduceat(overlap, starts)
        lengths = np.diff(np.append(starts, len(detection)))
        first = np.where(
            overlap == np.repeat(largest, lengths), np.arange(len(overlap)), len(overlap)
        )
        first = np.minimum.reduceat(first, starts)
        best[detection[starts]], most[detection[starts]] = target[first], largest
    return best, most


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _shared(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area that both boxes cover."""
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    sides = np.maximum(high - low, 0)
    return sides[:, 0] * sides[:, 1]


def _first_of_each(best: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of the rising `rows`, the first that has each value of `best`: the best score."""
    return rows[np.unique(best[rows], return_index=True)[1]]


def count_truth(truth: OpenImagesTruth) -> NDArray[np.int64]:
    """(C,) boxes and groups to be found."""
    return np.bincount(truth.category, minlength=len(truth.classes))


def average_precision(
    entries: RankedEntries, num_objects: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(C,) area under the precision envelope; NaN without objects.

    Recall grows by one object at each true positive, so the area is the mean over all objects of
    the best precision at or after the true positive that found it, 0 where none did.
    """
    edges = np.searchsorted(entries.category, np.arange(len(num_objects) + 1))
    values = np.full(len(num_objects), np.nan)
    for category in np.flatnonzero(num_objects):
        true = entries.true[slice(*edges[category : category + 2])]
        place = np.flatnonzero(true)
        precision = np.arange(1, len(place) + 1) / (place + 1)
        envelope = np.maximum.accumulate(precision[::-1])
        values[category] = envelope.sum() / num_objects[category]
    return values
