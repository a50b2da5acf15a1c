"""Which classes are present in which image, which are absent, and which are boxed one by one.

A cell is an image and a class, as the one number `image * C + class`; sets of cells are rising
arrays, which takes a hundredth of the memory of Python's sets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.openimages.hierarchy import Related, expand_classes

Cells = NDArray[np.int64]
"""(n,) rising, each once."""


def _distinct(cells: NDArray[np.int64]) -> Cells:
    """The set of fresh `cells`, which it sorts: ten times faster than np.unique, which hashes."""
    cells.sort()
    first = np.ones(len(cells), bool)
    first[1:] = cells[1:] != cells[:-1]
    return cells[first]


class Relations(NamedTuple):
    """For every class: itself, then its ancestors (descendants)."""

    ancestors: Related
    descendants: Related

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.ancestors)

    def cells(self, image: NDArray[np.integer], category: NDArray[np.integer]) -> Cells:
        """Cells that rows (n,) of `image` and `category` fill."""
        return _distinct(image.astype(np.int64) * self.num_classes + category)

    def above(self, cells: Cells) -> Cells:
        """`cells` and those of all ancestors."""
        return self._expand(cells, self.ancestors)

    def below(self, cells: Cells) -> Cells:
        """`cells` and those of all descendants."""
        return self._expand(cells, self.descendants)

    def _expand(self, cells: Cells, related: Related) -> Cells:
        image, category = np.divmod(cells, self.num_classes)
        rows, category = expand_classes(category, related)
        return self.cells(image[rows], category)


class Verified(NamedTuple):
    """What is known of whole images."""

    negatives: Cells | None  # verified to be absent; None if nobody verified anything
    not_exhaustive: Cells  # present, but not boxed object by object


def verify(
    boxed: Cells,
    groups: Cells,
    labels: tuple[Cells, Cells] | None,
    relations: Relations,
    *,
    expand_boxes: bool,
    expand_labels: bool,
) -> Verified:
    """Put boxes and verified labels together; what is present anywhere is nowhere absent.

    Args:
        boxed: cells with boxes that are learnt as objects.
        groups: cells with group-of boxes that are not.
        labels: cells verified to be present, and to be absent; None without a file.
        relations: of the classes.
        expand_boxes: boxes stand for ancestors too.
        expand_labels: verified presence and absence do.
    """
    present, absent = labels or (boxed[:0], boxed[:0])
    present = _distinct(np.concatenate([boxed, groups, present]))
    if expand_labels:
        present, absent = relations.above(present), relations.below(absent)
    if expand_boxes:
        boxed, groups = relations.above(boxed), relations.above(groups)
    single = np.setdiff1d(present, boxed, assume_unique=True)
    return Verified(
        None if labels is None else np.setdiff1d(absent, present, assume_unique=True),
        _distinct(np.concatenate([single, groups])),
    )


def to_lists(
    cells: Cells, num_classes: int, images: NDArray[np.int64]
) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Classes of each of the rising `images`, end to end, and how many each has."""
    image, category = np.divmod(cells, num_classes)
    starts = np.searchsorted(image, images)
    ends = np.searchsorted(image, images, side="right")
    return category[np.isin(image, images)].astype(np.int16), ends - starts
