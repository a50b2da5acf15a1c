"""Precision at recall points, and recall, of every category, size range and IoU threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.matching import Matches, ignored_objects
from dense_lt.evaluation.pairing import run_starts, within_runs
from dense_lt.evaluation.ranking import NOT_EXHAUSTIVE, Objects, Ranking
from dense_lt.evaluation.rules import IOU_THRESHOLDS, RECALL_POINTS, SIZE_RANGES

EPSILON = np.spacing(1)
"""Added to the denominator of precision by the official packages."""


@dataclass(frozen=True)
class Curves:
    """NaN where a category has no object that counts."""

    precision: NDArray[np.float64]  # (A, T, C, R)
    recall: NDArray[np.float64]  # (A, T, C)

    def average_precision(self) -> NDArray[np.float64]:
        """(A, T, C) mean over the recall points."""
        return self.precision.mean(axis=3)


def count_objects(objects: Objects, num_categories: int) -> NDArray[np.int64]:
    """(A, C) objects that count."""
    counts = [
        np.bincount(objects.category[~ignored], minlength=num_categories)
        for ignored in ignored_objects(objects)
    ]
    return np.stack(counts)


def possible_false_positives(ranking: Ranking) -> NDArray[np.bool_]:
    """(A, N) whether a detection is a false positive if it matches nothing.

    Not one outside the size range, and not one of a category that is not exhaustively annotated in
    its image.
    """
    low, high = SIZE_RANGES[:, :1], SIZE_RANGES[:, 1:]
    inside = (ranking.areas >= low) & (ranking.areas <= high)
    return inside & ((ranking.cells & NOT_EXHAUSTIVE) == 0)


def measure(ranking: Ranking, matches: Matches, num_objects: NDArray[np.int64], cap: int) -> Curves:
    """Curves of the detections whose place is below `cap`.

    A cap never changes a match: within one image and category it removes the last to choose.

    Args:
        ranking: the N detections.
        matches: of all of them.
        num_objects: (A, C) of `count_objects`.
        cap: detections per unit of the protocol.
    """
    num_sizes, num_categories = num_objects.shape
    shape = (num_sizes, len(IOU_THRESHOLDS), num_categories)
    precision, recall = np.zeros((*shape, len(RECALL_POINTS))), np.zeros(shape)
    counted = ranking.place < cap
    could_be_false = possible_false_positives(ranking) & counted
    first = np.searchsorted(ranking.category, np.arange(num_categories))
    candidate_counted = counted[matches.detection]
    for size in range(num_sizes):
        undefined = num_objects[size] == 0
        tracker = _FalsePositives(could_be_false[size], matches.detection, first)
        for threshold in range(len(IOU_THRESHOLDS)):
            matched = matches.matched[size, threshold]
            found = np.flatnonzero(matches.found[size, threshold] & candidate_counted)
            category = ranking.category[matches.detection[found]]
            false = tracker.before(found, category, matched)
            _read_off(category, false, num_objects[size], precision[size, threshold])
            num_found = np.bincount(category, minlength=num_categories)
            recall[size, threshold] = num_found / np.maximum(num_objects[size], 1)
        precision[size][:, undefined] = recall[size][:, undefined] = np.nan
    return Curves(precision, recall)


class _FalsePositives:
    """How many false positives of its category rank above a detection, in one size range.

    Those that could be false are counted once over all N; those of the K candidates that match are
    taken off for each threshold.
    """

    def __init__(
        self,
        could_be_false: NDArray[np.bool_],
        candidates: NDArray[np.int64],
        first: NDArray[np.int64],
    ) -> None:
        counts = np.concatenate([[0], np.cumsum(could_be_false)])
        self.unmatched = counts[candidates]
        self.unmatched_first = counts[first]
        self.removable = could_be_false[candidates]
        self.first = np.searchsorted(candidates, first)

    def before(
        self,
        found: NDArray[np.int64],
        category: NDArray[np.integer],
        matched: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """For candidates `found` (n,) of `category` (n,); `matched` is (K,)."""
        removed = np.concatenate([[0], np.cumsum(matched & self.removable)])
        could_be = self.unmatched[found] - self.unmatched_first[category]
        return could_be - (removed[found] - removed[self.first[category]])


def _read_off(
    category: NDArray[np.integer],
    false: NDArray[np.int64],
    num_objects: NDArray[np.int64],
    table: NDArray[np.float64],
) -> None:
    """Fill in precision at the recall points: `table` (C, R), all zeros before.

    Args:
        category: (n,) of the true positives, in the order of the ranking.
        false: (n,) false positives above each.
        num_objects: (C,) that count.
        table: only rows of categories with a true positive are touched.

    Precision at a recall point is the largest precision at that recall or above. Precision falls at
    false positives, so only true positives matter: each one lifts all points up to its own recall.
    """
    if not len(category):
        return
    true = within_runs(category) + 1.0
    precision = true / (false + true + EPSILON)
    point = np.searchsorted(RECALL_POINTS, true / num_objects[category], side="right") - 1
    row = np.cumsum(np.concatenate([[False], category[1:] != category[:-1]]))
    lifted = np.zeros((row[-1] + 1, len(RECALL_POINTS)))
    cell = row * len(RECALL_POINTS) + point  # rising
    starts = run_starts(cell)
    lifted.ravel()[cell[starts]] = np.maximum.reduceat(precision, starts)
    lifted = np.maximum.accumulate(lifted[:, ::-1], axis=1)[:, ::-1]
    table[category[run_starts(category)]] = lifted
