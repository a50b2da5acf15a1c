"""Intervals for the Open Images metric: mAP and AP1 .. AP5 of many resamples of the images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.intervals import Samples, draw_digest
from dense_lt.evaluation.openimages import RankedEntries
from dense_lt.evaluation.openimages_truth import OpenImagesTruth
from dense_lt.evaluation.resampling import (
    Values,
    Weights,
    envelope,
    mean_over_classes,
    resample,
    slices,
)


@dataclass(frozen=True)
class _Class:
    """Images of everything that counts in one class, in the order of the ranking."""

    category: int
    objects: NDArray[np.int32]  # (g,)
    entries: NDArray[np.int32]  # (n,) up to the last true positive
    true: NDArray[np.int64]  # places of the true positives among them

    def average_precision(self, weights: Weights) -> NDArray[np.float64]:
        """(S,) area under the precision envelope; NaN without objects."""
        objects = weights.take(self.objects, axis=1).sum(axis=1)
        entries = weights.take(self.entries, axis=1)
        own = entries.take(self.true, axis=1)
        counted = np.cumsum(entries, axis=1, dtype=entries.dtype).take(self.true, axis=1)
        true = np.cumsum(own, axis=1, dtype=own.dtype)
        precision = envelope(true / np.maximum(counted, 1))
        area = np.einsum("sn,sn->s", own, precision) / np.maximum(objects, 1)
        return np.where(objects > 0, area, np.nan)


def bootstrap_openimages(
    truth: OpenImagesTruth,
    entries: RankedEntries,
    groups: NDArray[np.int64] | None,
    *,
    resamples: int,
    seed: int = 0,
) -> Samples:
    """Resample the images.

    Args:
        truth: the images and objects.
        entries: true and false positives.
        groups: (C,) fifth of each class, or None.
        resamples: B.
        seed: two runs with the same seed on the same images are paired.
    """
    classes = classes_of(truth, entries)

    def measure(weights: Weights) -> Values:
        return _headlines(class_precision(classes, weights, len(truth.classes)), groups)

    values = resample(
        measure,
        images=len(truth.image_ids),
        resamples=resamples,
        seed=seed,
    )
    return Samples(values, draw_digest(truth.image_ids, resamples, seed))


def class_precision(
    classes: list[_Class], weights: Weights, num_classes: int
) -> NDArray[np.float64]:
    """(C, S) of every class in every resample."""
    precision = np.full((num_classes, len(weights)), np.nan)
    for own in classes:
        for part in slices(weights, len(own.entries)):
            precision[own.category, part] = own.average_precision(weights[part])
    return precision


def _headlines(precision: NDArray[np.float64], groups: NDArray[np.int64] | None) -> Values:
    values = {"mAP": mean_over_classes(precision)}
    for group in range(5 if groups is not None else 0):
        values[f"AP{group + 1}"] = mean_over_classes(precision[groups == group])
    return values


def classes_of(truth: OpenImagesTruth, entries: RankedEntries) -> list[_Class]:
    """The classes that have objects."""
    return list(_classes(truth, entries))


def _classes(truth: OpenImagesTruth, entries: RankedEntries) -> Iterator[_Class]:
    numbers = np.arange(len(truth.classes) + 1)
    edges = np.searchsorted(entries.category, numbers)
    by_class = np.argsort(truth.category, kind="stable")
    object_edges = np.searchsorted(truth.category[by_class], numbers)
    for category in np.unique(truth.category).tolist():
        own = slice(*edges[category : category + 2])
        true = np.flatnonzero(entries.true[own])
        last = true[-1] + 1 if len(true) else 0  # what ranks below never matters
        yield _Class(
            category=category,
            objects=truth.image[by_class[slice(*object_edges[category : category + 2])]],
            entries=entries.image[own][:last],
            true=true,
        )
