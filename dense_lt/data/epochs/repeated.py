"""Every image once an epoch, or as often as its repeat factor says."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dense_lt.data.table import AnnotationTable

Rounding = Literal["stochastic", "ceil", "floor", "round"]

ORDER, COUNTS = 0, 1
"""Last part of a random key: what it is for."""


class RepeatedImages:
    """Images as often as their repeat factors say, shuffled.

    Args:
        factors: (I,) repeat factor of every image; all 1 for plain random order.
        rounding: how a factor becomes a count: drawn anew every epoch (detectron2), or rounded.
        seed: of everything random here.
    """

    def __init__(
        self, factors: np.ndarray, *, rounding: Rounding = "stochastic", seed: int
    ) -> None:
        self._factors = factors
        self._rounding: Rounding = rounding
        self._seed = seed

    def length(self, epoch: int) -> int:
        """Number of draws in an epoch."""
        return int(self._counts(epoch).sum())

    def indices(self, epoch: int) -> np.ndarray:
        """Images of an epoch in the order in which they come: (length,) int64."""
        indices = np.repeat(np.arange(len(self._factors)), self._counts(epoch))
        return np.random.default_rng((self._seed, epoch, ORDER)).permutation(indices)

    def expected(self) -> np.ndarray:
        """How often each image comes in an epoch, on average: (I,) float64."""
        return self._factors if self._rounding == "stochastic" else self._rounded()

    def _counts(self, epoch: int) -> np.ndarray:
        if self._rounding != "stochastic":
            return self._rounded().astype(np.int64)
        whole = np.floor(self._factors)
        generator = np.random.default_rng((self._seed, epoch, COUNTS))
        chance = generator.random(len(self._factors))
        return (whole + (chance < self._factors - whole)).astype(np.int64)

    def _rounded(self) -> np.ndarray:
        rounding = {"ceil": np.ceil, "floor": np.floor, "round": np.round}[self._rounding]
        return rounding(self._factors)


def repeat_factors(
    table: AnnotationTable,
    num_classes: int,
    *,
    threshold: float,
    exponent: float = 0.5,
    instance_aware: bool = False,
) -> np.ndarray:
    """How often each image should come in an epoch, (I,) float64, at least 1.

    r(c) = max(1, (threshold / f(c)) ** exponent) with f(c) the frequency of class c, and an image's
    factor is the largest of its classes; 1 for an image without objects. f(c) is the fraction of
    images that contain c; instance-aware, it is the geometric mean of that and of the fraction of
    all instances that are of c, so that of two classes in equally many images the one with fewer
    objects is repeated more. Crowds do not count.

    Example: threshold 0.001 and 100,000 images: a class in 10 of them has f = 0.0001 and
    r = sqrt(10) = 3.16; classes in 100 images or more have r = 1.

    Source: Gupta et al. 2019 (LVIS), with a free exponent; detectron2's docstring calls the
    threshold a frequency below which repeating starts, as here. Yaman et al. 2023
    (arXiv 2305.08069) for the instance-aware form.
    """
    owners, labels = image_labels(table)
    frequency = np.bincount(labels, minlength=num_classes) / max(len(table), 1)
    if instance_aware:
        instances = np.bincount(table.labels[~table.crowd], minlength=num_classes)
        frequency = np.sqrt(frequency * (instances / max(instances.sum(), 1)))
    by_class = np.ones(num_classes)
    present = frequency > 0
    by_class[present] = (threshold / frequency[present]) ** exponent
    factors = np.ones(len(table))
    np.maximum.at(factors, owners, by_class[labels])
    return factors


def image_labels(table: AnnotationTable) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of an image and a class with an object in it, once: two (pairs,) arrays.

    Sorted by image, then by class.
    """
    objects = np.flatnonzero(~table.crowd)
    owners = np.repeat(np.arange(len(table)), np.diff(table.offsets))[objects]
    pairs = np.unique(np.stack([owners, table.labels[objects]]), axis=1)
    return pairs[0], pairs[1]
