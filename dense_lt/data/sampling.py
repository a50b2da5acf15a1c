"""In which order images come: seeded, endless, the same for any number of loader processes.

The order is one stream of positions 0, 1, 2, ... over all training processes. Which image stands
at a position depends on the seed alone, so a run goes on from any position without having seen
the ones before, and its augmentation is seeded by the position.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dense_lt.data.epochs.base import Epochs

GROUPS, CHANCE = 2, 12
"""Last part of a random key: in which order groups of one shape come; what the model draws."""


def chance_at(seed: int, position: int) -> Tensor:
    """() int64 in [0, 2^31): seeds what the model draws for the sample at a position."""
    words = np.random.SeedSequence((seed, position, CHANCE)).generate_state(1)
    return torch.tensor(int(words[0]) >> 1)


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


class EpochOrder:
    """The endless stream of image indices, epoch after epoch.

    Args:
        epochs: which images come in each.
        seed: of the order of groups.
        portrait: (I,) bool, which images are higher than wide; None does not group them.
        group: images of a kind that come together, when grouped: the batch of one process.
    """

    def __init__(
        self, epochs: Epochs, *, seed: int, portrait: np.ndarray | None = None, group: int = 1
    ) -> None:
        self._epochs = epochs
        self._seed = seed
        self._portrait = portrait
        self._group = group

    def expected(self) -> np.ndarray:
        """How often each image comes in an epoch, on average: (I,) float64."""
        return self._epochs.expected()

    def mean_length(self) -> float:
        """Images of an epoch, on average."""
        return float(self.expected().sum())

    def draws(self, start: int = 0) -> Iterator[Draw]:
        """The stream from position `start` on, without end.

        Earlier epochs are not made again; only their lengths are, where these are random.
        """
        epoch, first = 0, 0
        while first + (length := self._epochs.length(epoch)) <= start:
            epoch, first = epoch + 1, first + length
        while True:
            indices = self.epoch(epoch, first)
            for offset in range(max(start - first, 0), len(indices)):
                yield Draw(int(indices[offset]), first + offset)
            epoch, first = epoch + 1, first + len(indices)

    def epoch(self, epoch: int, first: int) -> np.ndarray:
        """Indices of one epoch, whose first image has position `first`: (length,) int64."""
        indices = self._epochs.indices(epoch)
        if self._portrait is None:
            return indices
        return self._grouped(indices, first, np.random.default_rng((self._seed, epoch, GROUPS)))

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


class BatchSampler:
    """Batches of one process: its share of every stretch of `batch_size * world_size` positions.

    Endless. Together the processes see every position once, whatever their number.

    Args:
        order: the stream.
        batch_size: images of one batch in this process.
        start: position of the first sample.
        rank: number of this process.
        world_size: number of processes.
        mixed_until: steps that start at this position or later mix no further images in.
    """

    def __init__(
        self,
        order: EpochOrder,
        *,
        batch_size: int,
        start: int,
        rank: int,
        world_size: int,
        mixed_until: float = float("inf"),
    ) -> None:
        self._order = order
        self._batch_size = batch_size
        self._start = start
        self._rank = rank
        self._world_size = world_size
        self._mixed_until = mixed_until

    def __iter__(self) -> Iterator[list[Draw]]:
        draws = self._order.draws(self._start)
        while True:
            stretch = [next(draws) for _ in range(self._batch_size * self._world_size)]
            own = self._rank * self._batch_size
            step = stretch[0].position
            yield [
                replace(draw, step=step, mixed=step < self._mixed_until)
                for draw in stretch[own : own + self._batch_size]
            ]
