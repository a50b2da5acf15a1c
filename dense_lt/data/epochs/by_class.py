"""Classes are drawn first, then images of theirs; images without objects never come."""

from __future__ import annotations

import numpy as np

from dense_lt.data.epochs.repeated import image_labels
from dense_lt.data.table import AnnotationTable, Ragged, offsets_of

CLASSES, IMAGES, COUNTS, ORDER = 0, 1, 2, 3
"""Last part of a random key: what it is for."""


def images_by_class(table: AnnotationTable, num_classes: int) -> Ragged:
    """Images with an object of each class: C ascending lists."""
    owners, labels = image_labels(table)
    counts = np.bincount(labels, minlength=num_classes)
    return Ragged(owners[np.argsort(labels, kind="stable")], offsets_of(counts.tolist()))


class ClassAware:
    """Every class equally often (the class-aware sampling, CAS, of Shen et al. 2016).

    The classes come in cycles, each in an order of its own; a class in turn gives the next image of
    its own shuffled list, which is shuffled anew when it is used up. Cycles and lists go on through
    epochs; an epoch is as many draws as there are images in the data set.

    Args:
        lists: images of every class; classes without any are left out.
        num_images: I.
        seed: of everything random here.
    """

    def __init__(self, lists: Ragged, num_images: int, *, seed: int) -> None:
        self._lists = lists
        self._num_images = num_images
        self._seed = seed
        self._classes = np.flatnonzero(np.diff(lists.offsets))

    def length(self, epoch: int) -> int:
        """Number of draws in an epoch."""
        return self._num_images if len(self._classes) else 0

    def indices(self, epoch: int) -> np.ndarray:
        """Images of an epoch in the order in which they come: (length,) int64."""
        length, per_cycle = self.length(epoch), len(self._classes)
        if not length:
            return np.zeros(0, dtype=np.int64)
        start = epoch * length
        first, last = start // per_cycle, -(-(start + length) // per_cycle)
        images = np.empty((last - first, per_cycle), dtype=np.int64)
        for column, label in enumerate(self._classes):
            images[:, column] = self._images_of(int(label), first, last)
        for cycle, row in enumerate(images, first):
            np.random.default_rng((self._seed, cycle, CLASSES)).shuffle(row)
        return images.reshape(-1)[start - first * per_cycle :][:length]

    def expected(self) -> np.ndarray:
        """How often each image comes in an epoch, on average: (I,) float64."""
        shares = np.zeros(len(self._lists))
        shares[self._classes] = 1 / max(len(self._classes), 1)
        return _expected(self._lists, shares, self._num_images)

    def _images_of(self, label: int, first: int, last: int) -> np.ndarray:
        """What a class gives in cycles `first` to `last`."""
        own = self._lists[label]
        passes = range(first // len(own), -(-last // len(own)))
        keys = ((self._seed, label, number, IMAGES) for number in passes)
        given = np.concatenate([np.random.default_rng(key).permutation(own) for key in keys])
        return given[first - passes.start * len(own) :][: last - first]


class PowerOfCount:
    """A class as often as a power of the number of its images says.

    Exponent 1/2 is square-root sampling (Mahajan et al. 2018), between the data as they are (1) and
    every class equally often (0). An epoch is as many draws as there are images; in it the images
    of a class come equally often for it, give or take one. The rounding of the classes' shares is
    drawn anew every epoch, so that none loses its fraction.

    Args:
        lists: images of every class; classes without any are left out.
        num_images: I.
        exponent: of the number of images.
        seed: of everything random here.
    """

    def __init__(self, lists: Ragged, num_images: int, *, exponent: float, seed: int) -> None:
        self._lists = lists
        self._num_images = num_images
        self._seed = seed
        counts = np.diff(lists.offsets)
        self._classes = np.flatnonzero(counts)
        weights = counts[self._classes] ** exponent
        self._shares = weights / weights.sum()

    def length(self, epoch: int) -> int:
        """Number of draws in an epoch."""
        return self._num_images if len(self._classes) else 0

    def indices(self, epoch: int) -> np.ndarray:
        """Images of an epoch in the order in which they come: (length,) int64."""
        drawn = [np.zeros(0, dtype=np.int64)]
        for label, count in zip(self._classes.tolist(), self._counts(epoch), strict=True):
            generator = np.random.default_rng((self._seed, epoch, label, IMAGES))
            own = self._lists[label]
            whole, part = divmod(count, len(own))
            drawn += [np.repeat(own, whole), generator.permutation(own)[:part]]
        return np.random.default_rng((self._seed, epoch, ORDER)).permutation(np.concatenate(drawn))

    def expected(self) -> np.ndarray:
        """How often each image comes in an epoch, on average: (I,) float64."""
        shares = np.zeros(len(self._lists))
        shares[self._classes] = self._shares
        return _expected(self._lists, shares, self._num_images)

    def _counts(self, epoch: int) -> list[int]:
        """Draws of every class: its share rounded up or down, the sum always the same."""
        offset = np.random.default_rng((self._seed, epoch, COUNTS)).random()
        ends = np.floor(np.cumsum(self._shares) * self.length(epoch) + offset)
        ends[-1:] = self.length(epoch)  # whatever the rounding of the sum
        return np.diff(ends, prepend=0).astype(np.int64).tolist()


def _expected(lists: Ragged, shares: np.ndarray, draws: int) -> np.ndarray:
    counts = np.diff(lists.offsets)
    each = shares * draws / np.maximum(counts, 1)
    return np.bincount(lists.values, weights=np.repeat(each, counts), minlength=draws)
