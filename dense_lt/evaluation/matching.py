"""Which detection finds which object? All images, categories and thresholds are matched at once.

The rule (COCO, LVIS): within one image and category, detections choose in order of falling score. A
detection takes the object that (1) is still free or a crowd, (2) overlaps it by at least the
threshold, (3) is not ignored if any such object is left, (4) has the largest IoU, (5) comes last in
the file among equals. Whether an object is ignored depends on the size range, so there is one
matching for each of A size ranges and T thresholds.

Detections of different images or categories never compete. So all of them choose at once in rounds:
first every cell's best detection, then every second one, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.overlap import Pairs
from dense_lt.evaluation.pairing import run_starts, within_runs
from dense_lt.evaluation.ranking import Objects, Ranking
from dense_lt.evaluation.rules import IOU_THRESHOLDS, SIZE_RANGES

CHUNK = 1 << 15
"""Pairs whose cells are matched together; keeps the (A, T, P) arrays small."""

NOT_IGNORED = np.int64(1) << 62
"""Above every IoU's bits: floats in [0, 2) are ordered like their bits and leave bit 62 free."""


@dataclass(frozen=True)
class Matches:
    """Outcome for the K detections that overlap an object enough; the others match nothing."""

    detection: NDArray[np.int64]  # (K,) rising positions in the ranking
    matched: NDArray[np.bool_]  # (A, T, K)
    found: NDArray[np.bool_]  # (A, T, K) matched to an object that is not ignored: true positive


def ignored_objects(objects: Objects) -> NDArray[np.bool_]:
    """(A, G) objects that count neither way: flagged, or outside the size range."""
    low, high = SIZE_RANGES[:, :1], SIZE_RANGES[:, 1:]
    return objects.ignore | (objects.areas < low) | (objects.areas > high)


def match(ranking: Ranking, objects: Objects, pairs: Pairs, num_categories: int) -> Matches:
    """Match greedily; see the top of this file for the rule."""
    detection, candidate = np.unique(pairs.detection, return_inverse=True)
    cell = ranking.image[detection].astype(np.int64) * num_categories + ranking.category[detection]
    state = _State(objects, len(detection))
    for turn in _turns(cell, candidate):
        state.choose(candidate[turn], pairs.object[turn], pairs.iou[turn])
    return Matches(detection, state.matched, state.found)


def _turns(cell: NDArray[np.int64], candidate: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Indices of the pairs of detections that choose at the same time, earlier turns first.

    Args:
        cell: (K,) image and category of each candidate, best score first in each.
        candidate: (P,) of each pair, rising.
    """
    by_cell = np.argsort(cell, kind="stable")
    turn = np.empty(len(cell), np.int64)
    turn[by_cell] = within_runs(cell[by_cell])
    before = np.cumsum(np.bincount(candidate, minlength=len(cell))[by_cell])
    starts = run_starts(cell[by_cell])
    chunk = np.empty(len(cell), np.int64)  # by the pairs of all cells before: a cell is never cut
    lengths = np.diff(np.append(starts, len(cell)))
    chunk[by_cell] = np.repeat(before[starts] // CHUNK, lengths)
    order = np.lexsort((turn[candidate], chunk[candidate]))
    key = chunk[candidate[order]] * (len(cell) + 1) + turn[candidate[order]]
    yield from np.split(order, run_starts(key)[1:])


class _State:
    """Who has matched what so far."""

    def __init__(self, objects: Objects, num_candidates: int) -> None:
        shape = (len(SIZE_RANGES), len(IOU_THRESHOLDS))
        self.thresholds = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)
        self.ignored = ignored_objects(objects)
        self.reusable = objects.crowd
        self.taken = np.zeros((*shape, len(objects.areas)), bool)
        self.matched = np.zeros((*shape, num_candidates), bool)
        self.found = np.zeros((*shape, num_candidates), bool)

    def choose(
        self, candidate: NDArray[np.int64], target: NDArray[np.int64], iou: NDArray[np.float64]
    ) -> None:
        """Let candidates of different cells choose among their pairs, given as rising (p,)."""
        free = (iou >= self.thresholds[:, None]) & ~self.taken[:, :, target]  # (A, T, p)
        starts = run_starts(candidate)
        lengths = np.diff(np.append(starts, len(candidate)))
        several = np.flatnonzero(np.repeat(lengths > 1, lengths))  # pairs of those with a choice
        if len(several):
            free[:, :, several] = _best_of_each(
                free[:, :, several],
                iou[several],
                self.ignored[:, target[several]],
                run_starts(candidate[several]),
            )
        size, threshold, pair = np.nonzero(free)
        chosen = target[pair]
        self.taken[size, threshold, chosen] = ~self.reusable[chosen]
        self.matched[size, threshold, candidate[pair]] = True
        self.found[size, threshold, candidate[pair]] = ~self.ignored[size, chosen]


def _best_of_each(
    free: NDArray[np.bool_],
    iou: NDArray[np.float64],
    ignored: NDArray[np.bool_],
    starts: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """`free` (A, T, p) with only the best pair of each candidate left.

    `iou` is (p,), `ignored` (A, p); a candidate's pairs begin at its entry of `starts`.
    """
    lengths = np.diff(np.append(starts, len(iou)))
    rank = np.where(ignored, 0, NOT_IGNORED) | iou.view(np.int64)  # (A, p)
    rank = np.where(free, rank[:, None, :], -1)
    best = np.repeat(np.maximum.reduceat(rank, starts, axis=2), lengths, axis=2)
    nth = np.where(free & (rank == best), np.arange(len(iou)), -1)
    last = np.repeat(np.maximum.reduceat(nth, starts, axis=2), lengths, axis=2)
    return free & (nth == last)
