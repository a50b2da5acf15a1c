"""In which order images come: seeded, endless, the same for any number of loader processes.

The order is one stream of positions 0, 1, 2, ... over all training processes. Which image stands
at a position depends on the seed alone, so a run goes on from any position without having seen
the ones before, and its augmentation is seeded by the position.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dense_lt.data.table import AnnotationTable

logger = logging.getLogger(__name__)

Rounding = Literal["stochastic", "ceil", "floor", "round"]

ORDER, COUNTS = 0, 1
"""Last part of a random key: what it is for."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Image `index` at global `position` of the stream.

    Attributes:
        step: position of the first sample of the same optimizer step, equal in all processes.
        mixed: whether further images may be mixed in; off at the end of training.
    """

    index: int
    position: int
    step: int = 0
    mixed: bool = True


def repeat_factors(
    table: AnnotationTable, num_classes: int, *, threshold: float, exponent: float = 0.5
) -> np.ndarray:
    """How often each image should come in an epoch, (I,) float64, at least 1.

    r(c) = max(1, (threshold / f(c)) ** exponent) with f(c) the fraction of images that contain
    class c, and an image's factor is the largest of its classes; 1 for an image without objects.
    Example: threshold 0.001 and 100,000 images: a class in 10 of them has f = 0.0001 and
    r = sqrt(10) = 3.16; classes in 100 images or more have r = 1.

    Source: Gupta et al. 2019 (LVIS), with a free exponent; detectron2's docstring calls the
    threshold a frequency below which repeating starts, as here.
    """
    objects = np.flatnonzero(~table.crowd)
    owner = np.repeat(np.arange(len(table)), np.diff(table.offsets))[objects]
    pairs = np.unique(np.stack([owner, table.labels[objects]]), axis=1)
    images = np.bincount(pairs[1], minlength=num_classes)
    by_class = np.ones(num_classes)
    present = images > 0
    by_class[present] = (threshold * len(table) / images[present]) ** exponent
    factors = np.ones(len(table))
    np.maximum.at(factors, pairs[0], by_class[pairs[1]])
    return factors


class EpochOrder:
    """The endless stream of image indices, cut into epochs.

    Args:
        factors: (I,) repeat factor of every image; all 1 for plain random order.
        rounding: how a factor becomes a count: drawn anew every epoch (detectron2), or rounded.
        seed: of everything random here.
        portrait: (I,) bool, which images are higher than wide; None does not group them.
        group: images of a kind that come together, when grouped: the batch of one process.
    """

    def __init__(
        self,
        factors: np.ndarray,
        *,
        rounding: Rounding = "stochastic",
        seed: int,
        portrait: np.ndarray | None = None,
        group: int = 1,
    ) -> None:
        self._factors = factors
        self._rounding: Rounding = rounding
        self._seed = seed
        self._portrait = portrait
        self._group = group

    def mean_length(self) -> float:
        """Images of an epoch, on average."""
        if self._rounding == "stochastic":
            return float(self._factors.sum())
        return float(self._rounded().sum())

    def draws(self, start: int = 0) -> Iterator[Draw]:
        """The stream from position `start` on, without end.

        Earlier epochs are not made again; only their lengths are, where these are random.
        """
        epoch, first = 0, 0
        while first + (length := int(self._counts(epoch).sum())) <= start:
            epoch, first = epoch + 1, first + length
        while True:
            indices = self.epoch(epoch, first)
            for offset in range(max(start - first, 0), len(indices)):
                yield Draw(int(indices[offset]), first + offset)
            epoch, first = epoch + 1, first + len(indices)

    def epoch(self, epoch: int, first: int) -> np.ndarray:
        """Indices of one epoch, whose first image has position `first`: (length,) int64."""
        indices = np.repeat(np.arange(len(self._factors)), self._counts(epoch))
        generator = np.random.default_rng((self._seed, epoch, ORDER))
        indices = generator.permutation(indices)
        if self._portrait is None:
            return indices
        return self._grouped(indices, first, generator)

    def _grouped(
        self, indices: np.ndarray, first: int, generator: np.random.Generator
    ) -> np.ndarray:
        """Reorder an epoch so that groups, which start at multiples of the group size, are pure.

        A group that two epochs share, and one for the left-overs of both kinds, may be mixed.
        """
        assert self._portrait is not None
        head = min(-first % self._group, len(indices))
        body = indices[head:]
        portrait = self._portrait[body]
        groups, rest = [], []
        for kind in (body[portrait], body[~portrait]):
            whole = len(kind) // self._group * self._group
            groups.append(kind[:whole].reshape(-1, self._group))
            rest.append(kind[whole:])
        pure = generator.permutation(np.concatenate(groups))
        return np.concatenate([indices[:head], pure.reshape(-1), *rest])

    def _counts(self, epoch: int) -> np.ndarray:
        if self._rounding != "stochastic":
            return self._rounded()
        whole = np.floor(self._factors)
        generator = np.random.default_rng((self._seed, epoch, COUNTS))
        chance = generator.random(len(self._factors))
        return (whole + (chance < self._factors - whole)).astype(np.int64)

    def _rounded(self) -> np.ndarray:
        rounding = {"ceil": np.ceil, "floor": np.floor, "round": np.round}[self._rounding]
        return rounding(self._factors).astype(np.int64)


class BatchSampler:
    """Batches of one process: its share of every stretch of `batch_size * world_size` positions.

    Endless. Together the processes see every position once, whatever their number.
    """

    def __init__(
        self, order: EpochOrder, *, batch_size: int, start: int, rank: int, world_size: int
    ) -> None:
        self._order = order
        self._batch_size = batch_size
        self._start = start
        self._rank = rank
        self._world_size = world_size

    def __iter__(self) -> Iterator[list[Draw]]:
        draws = self._order.draws(self._start)
        while True:
            stretch = [next(draws) for _ in range(self._batch_size * self._world_size)]
            own = self._rank * self._batch_size
            yield stretch[own : own + self._batch_size]
