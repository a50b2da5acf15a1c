"""How sure are the numbers? Average precision of many draws of the images (see `resampling.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.categories import GROUPS
from dense_lt.evaluation.curves import EPSILON, possible_false_positives
from dense_lt.evaluation.ground_truth import GroundTruth
from dense_lt.evaluation.intervals import Samples, draw_digest
from dense_lt.evaluation.lvis import Matched
from dense_lt.evaluation.matching import ignored_objects
from dense_lt.evaluation.resampling import (
    Values,
    Weights,
    envelope,
    mean_over_classes,
    resample,
    slices,
    sums_before,
)
from dense_lt.evaluation.rules import ALL_SIZES, RECALL_POINTS


def bootstrap(
    matched: Matched,
    ground_truth: GroundTruth,
    *,
    cap: int,
    resamples: int = 1000,
    seed: int = 0,
    threads: int | None = None,
) -> Samples:
    """Resample the images.

    Args:
        matched: everything that was matched.
        ground_truth: its images and frequency groups.
        cap: of detections.
        resamples: B.
        seed: two runs with the same seed on the same images are paired.
        threads: NumPy works outside of Python's lock; None takes one for each core.
    """
    classes = list(_classes(matched, cap))

    def measure(weights: Weights) -> Values:
        precision = _class_precision(classes, weights, matched.num_objects.shape[1])
        return _headlines(precision, ground_truth)

    values = resample(
        measure,
        images=len(ground_truth.image_ids),
        resamples=resamples,
        seed=seed,
        threads=threads,
    )
    return Samples(values, draw_digest(ground_truth.image_ids, resamples, seed))


def class_precision(matched: Matched, weights: Weights, cap: int) -> NDArray[np.float64]:
    """AP and AP50 of every class in every resample: (C, 2, S), NaN without objects."""
    return _class_precision(list(_classes(matched, cap)), weights, matched.num_objects.shape[1])


def _class_precision(
    classes: Sequence[_Class], weights: Weights, num_classes: int
) -> NDArray[np.float64]:
    precision = np.full((num_classes, 2, len(weights)), np.nan)
    for own in classes:
        for part in slices(weights, max(len(own.false), len(own.candidates))):
            precision[own.category, :, part] = own.average_precision(weights[part])
    return precision


def _headlines(precision: NDArray[np.float64], ground_truth: GroundTruth) -> Values:
    """Means over classes of (C, 2, S): mean over thresholds, and at IoU 0.5."""
    values = {"AP": mean_over_classes(precision[:, 0]), "AP50": mean_over_classes(precision[:, 1])}
    for group in GROUPS:
        own = precision[ground_truth.labels_in_group(group), 0]
        values[f"AP{group[0]}"] = mean_over_classes(own)
    return values


@dataclass(frozen=True)
class _Class:
    """Images of everything that counts in one class, in the order of the ranking."""

    category: int
    objects: NDArray[np.int32]  # (g,)
    false: NDArray[np.int32]  # (f,) false positives unless they match
    candidates: NDArray[np.int32]  # (k,) what overlaps an object enough to match
    false_before: NDArray[np.int64]  # (k,) how many rows of `false` rank above each candidate
    thresholds: tuple[_Threshold, ...]

    def average_precision(self, weights: Weights) -> NDArray[np.float64]:
        """(2, S): mean over the thresholds, and at the first; NaN without objects."""
        objects = weights.take(self.objects, axis=1).sum(axis=1)
        false = sums_before(weights.take(self.false, axis=1)).take(self.false_before, axis=1)
        candidates = weights.take(self.candidates, axis=1)
        values = np.stack([own.average(candidates, false, objects) for own in self.thresholds])
        return np.where(objects > 0, np.stack([values.mean(axis=0), values[0]]), np.nan)


@dataclass(frozen=True)
class _Threshold:
    """What matches in one class at one IoU threshold.

    A candidate that matches an object that counts is a true positive and, nearly always, would have
    been a false positive if it had not matched. `odd` are the others: true positives that could not
    have been false (sign 1), and matches of ignored objects, which count neither way (sign -1).
    """

    found: NDArray[np.int64]  # (n,) candidates that are true positives
    odd: NDArray[np.int64]  # (m,) candidates
    sign: NDArray[np.int32]  # (m,)

    def average(
        self, candidates: Weights, false: Weights, objects: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        """Average precision (S,).

        Args:
            candidates: (S, k) weights.
            false: (S, k) possible false positives above each candidate, those that match included.
            objects: (S,) weights of all objects.
        """
        if not len(self.found):
            return np.zeros(len(objects))
        own = candidates.take(self.found, axis=1)
        true = np.cumsum(own, axis=1, dtype=own.dtype)
        counted = false.take(self.found, axis=1) + own  # true and false positives up to each
        if len(self.odd):
            odd = sums_before(candidates.take(self.odd, axis=1) * self.sign)
            counted += odd.take(np.searchsorted(self.odd, self.found), axis=1)
        return _average(true, counted, objects)


def _average(true: Weights, counted: Weights, objects: NDArray[np.int32]) -> NDArray[np.float64]:
    """Mean over the recall points (S,) of the largest precision at that recall or above.

    Args:
        true: (S, n) true positives up to each true positive.
        counted: (S, n) true and false positives up to it.
        objects: (S,).

    A true positive answers for the recall points between the recall before it and its own.
    """
    precision = envelope(true / (counted + EPSILON))
    recall = true / np.maximum(objects, 1)[:, None]
    points = (recall * (len(RECALL_POINTS) - 1) + 0.5).astype(np.int8)  # the nearest
    points += recall >= RECALL_POINTS.take(points)  # now: how many are at this recall or below
    answered = np.diff(points, axis=1, prepend=np.int8(0))
    return np.einsum("sn,sn->s", answered, precision) / len(RECALL_POINTS)


def _classes(matched: Matched, cap: int) -> Iterator[_Class]:
    """The classes that have objects."""
    ranking, objects, rows = matched.ranking, matched.objects, matched.matches.detection
    counted = ranking.place < cap
    could_be_false = possible_false_positives(ranking)[ALL_SIZES] & counted
    false_rows = np.flatnonzero(could_be_false)
    matches = matched.matches.matched[ALL_SIZES] & counted[rows]
    found = matched.matches.found[ALL_SIZES] & counted[rows]
    sign = found.astype(np.int32) - (matches & could_be_false[rows])
    regular = np.flatnonzero(~ignored_objects(objects)[ALL_SIZES])
    regular = regular[np.argsort(objects.category[regular], kind="stable")]
    classes = np.arange(matched.num_objects.shape[1] + 1)
    edges = np.searchsorted(ranking.category, classes)
    false_edges, row_edges = np.searchsorted(false_rows, edges), np.searchsorted(rows, edges)
    object_edges = np.searchsorted(objects.category[regular], classes)
    for category in np.flatnonzero(matched.num_objects[ALL_SIZES]):
        own = slice(*row_edges[category : category + 2])
        false = false_rows[slice(*false_edges[category : category + 2])]
        before = np.searchsorted(false, rows[own])
        last = before[-1] if len(before) else 0  # what ranks below every candidate never matters
        yield _Class(
            category=int(category),
            objects=objects.image[regular[slice(*object_edges[category : category + 2])]],
            false=ranking.image[false[:last]],
            candidates=ranking.image[rows[own]],
            false_before=before,
            thresholds=tuple(
                _Threshold(np.flatnonzero(f), np.flatnonzero(s), s[s != 0])
                for f, s in zip(found[:, own], sign[:, own], strict=True)
            ),
        )
