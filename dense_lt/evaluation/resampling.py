"""Drawing images with replacement, many times: what every bootstrap here has in common.

A resample draws as many images as there are; an image drawn w times counts w times: its objects,
its true and its false positives get weight w. Nothing is matched anew, because images never
compete. Copies of an image stand side by side in the ranking.

Source: Efron 1979.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 128
"""Resamples that one thread takes; of large classes it computes fewer at a time."""

CELLS_AT_ONCE = 1 << 19
"""Resamples times detections of a class in one array: two megabytes, which caches hold."""

Weights = NDArray[np.int32]
"""(S, I) how often each image was drawn, in S resamples; and columns picked from it."""

Values = dict[str, NDArray[np.float64]]
"""Name of a number -> its value in every resample."""


def draw_weights(
    images: int, resamples: int, seed: int, at_once: int = AT_ONCE
) -> Iterator[Weights]:
    """Weights, `at_once` resamples at a time, which does not change what is drawn."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = [
            np.bincount(rng.integers(0, images, images), minlength=images) for _ in range(size)
        ]
        yield np.stack(drawn).astype(np.int32)


def resample(
    measure: Callable[[Weights], Values],
    *,
    images: int,
    resamples: int,
    seed: int,
    threads: int | None = None,
) -> Values:
    """Measure all resamples.

    Args:
        measure: weights of some resamples -> numbers.
        images: I.
        resamples: B.
        seed: of the draws.
        threads: NumPy works outside of Python's lock; None takes one for each core.
    """
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        blocks = list(pool.map(measure, draw_weights(images, resamples, seed)))
    return {name: np.concatenate([own[name] for own in blocks]) for name in blocks[0]}


def slices(weights: Weights, detections: int) -> Iterator[slice]:
    """Parts of the resamples of which a class with so many detections can be computed at once."""
    rows = max(1, CELLS_AT_ONCE // max(detections, 1))
    for start in range(0, len(weights), rows):
        yield slice(start, start + rows)


def sums_before(weights: Weights) -> Weights:
    """(S, n) -> (S, n + 1) sums of the columns to the left."""
    sums = np.zeros((len(weights), weights.shape[1] + 1), weights.dtype)
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def envelope(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S, n), in place: the largest value from each column on."""
    np.fmax.accumulate(precision[:, ::-1], axis=1, out=precision[:, ::-1])
    return precision


def mean_over_classes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C, S) -> (S,) over the classes that are defined; NaN if none is."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0).sum(axis=0) / defined.sum(axis=0)
