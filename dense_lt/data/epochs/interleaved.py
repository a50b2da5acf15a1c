"""Several data sets in one stream, each with its share of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from dense_lt.data.epochs.base import Epochs

SHARES = 0
"""Last part of a random key: which data set comes when."""


class Interleaved:
    """Images of several data sets, side by side in one stream.

    Each goes through its own epochs in its own order, as if it were alone; how fast, its weight
    says. An epoch is as many draws as the epochs of all together; the data sets' shares of it are
    exact up to a draw, and what an epoch rounds off the next ones make up for.

    Args:
        parts: what an epoch of each holds.
        sizes: number of images of each; those of the second follow those of the first, and so on.
        weights: shares of the stream, in proportion.
        seed: of which data set comes when.
    """

    def __init__(
        self, parts: Sequence[Epochs], sizes: Sequence[int], weights: Sequence[float], *, seed: int
    ) -> None:
        self._parts = tuple(parts)
        self._firsts = list(accumulate(sizes, initial=0))[:-1]
        self._shares = np.asarray(weights, dtype=np.float64) / sum(weights)
        self._length = max(1, round(sum(part.expected().sum() for part in parts)))
        self._seed = seed

    def length(self, epoch: int) -> int:
        """Number of draws in an epoch."""
        return int(self._taken(epoch + 1).sum() - self._taken(epoch).sum())

    def indices(self, epoch: int) -> np.ndarray:
        """Images of an epoch in the order in which they come: (length,) int64."""
        starts, ends = self._taken(epoch), self._taken(epoch + 1)
        turns = np.repeat(np.arange(len(self._parts)), ends - starts)
        turns = np.random.default_rng((self._seed, epoch, SHARES)).permutation(turns)
        indices = np.empty(len(turns), dtype=np.int64)
        for number, (part, first) in enumerate(zip(self._parts, self._firsts, strict=True)):
            own = _stretch(part, int(starts[number]), int(ends[number]))
            indices[turns == number] = first + own
        return indices

    def expected(self) -> np.ndarray:
        """How often each image comes in an epoch, on average: (I,) float64."""
        draws = [part.expected() for part in self._parts]
        return np.concatenate(
            [
                self._length * share * one / one.sum()
                for share, one in zip(self._shares, draws, strict=True)
            ]
        )

    def _taken(self, epoch: int) -> np.ndarray:
        """Draws of every part before an epoch."""
        return np.floor(epoch * self._length * self._shares + 0.5).astype(np.int64)


def _stretch(part: Epochs, start: int, end: int) -> np.ndarray:
    """Draws `start` to `end` of the epochs of `part`, laid end to end."""
    epoch, first = 0, 0
    while first + (length := part.length(epoch)) <= start:
        epoch, first = epoch + 1, first + length
    pieces = [np.zeros(0, dtype=np.int64)]
    while first < end:
        indices = part.indices(epoch)
        pieces.append(indices[max(start - first, 0) : end - first])
        epoch, first = epoch + 1, first + len(indices)
    return np.concatenate(pieces)
