"""Which instances copy-paste takes, and from which images."""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np

from dense_lt.data.table import AnnotationTable
from dense_lt.utils.errors import DataError

logger = logging.getLogger(__name__)

Rule = Literal["uniform", "inverse_square_root", "class_balanced", "repeat_factor"]


class InstanceSampler:
    """Draws instances of a table, those of rare classes more often.

    An instance of a class with n instances is drawn with a probability proportional to its weight:

    ===================  ==============================  ====================================
    rule                 weight of an instance           chance of the class (times weight n)
    ===================  ==============================  ====================================
    uniform              1                               n
    inverse_square_root  1 / sqrt(n)                     sqrt(n)
    class_balanced       1 / n                           the same for every class
    repeat_factor        max(1, sqrt(threshold / f))     n * max(1, sqrt(threshold / f))
    ===================  ==============================  ====================================

    with f the fraction of images that contain the class. Example: 10,000 instances of one class
    and 4 of another, inverse_square_root: the other is drawn in 2 of 102 cases, in place of 4 of
    10,004.

    Args:
        table: annotations.
        num_classes: C.
        rule: see above.
        threshold: of `repeat_factor`.
        outlined: only instances with a segmentation.

    Attributes:
        class_chances: (C,) float64 probability that the next instance is of a class; sums to 1.

    Raises:
        DataError: no instance can be drawn.
    """

    def __init__(
        self,
        table: AnnotationTable,
        num_classes: int,
        *,
        rule: Rule = "inverse_square_root",
        threshold: float = 1e-3,
        outlined: bool,
    ) -> None:
        usable = ~table.crowd
        if outlined:
            usable = usable & _has_outline(table)
        candidates = np.flatnonzero(usable)
        _report(table, len(candidates), outlined=outlined)
        counts = np.bincount(table.labels[candidates], minlength=num_classes)
        weights = _weights(table, candidates, counts, rule, threshold)
        self.class_chances = counts * weights / (counts * weights).sum()
        self._by_class = candidates[np.argsort(table.labels[candidates], kind="stable")]
        self._firsts = np.cumsum(counts) - counts
        self._counts = counts
        self._bounds = np.cumsum(self.class_chances)
        self._table = table

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """An image of the table, and which of its learnable objects: both count from 0."""
        label = int(np.searchsorted(self._bounds, rng.random() * self._bounds[-1], side="right"))
        nth = int(rng.integers(self._counts[label]))
        instance = int(self._by_class[self._firsts[label] + nth])
        image = int(np.searchsorted(self._table.offsets, instance, side="right")) - 1
        first = int(self._table.offsets[image])
        return image, int(np.count_nonzero(~self._table.crowd[first:instance]))


def _weights(
    table: AnnotationTable, candidates: np.ndarray, counts: np.ndarray, rule: Rule, threshold: float
) -> np.ndarray:
    """Weight of an instance by its class, (C,) float64."""
    if rule == "uniform":
        return np.ones(len(counts))
    if rule == "repeat_factor":
        images = np.searchsorted(table.offsets, candidates, side="right") - 1
        pairs = np.unique(images * len(counts) + table.labels[candidates])
        frequency = np.bincount(pairs % len(counts), minlength=len(counts)) / len(table)
        return np.sqrt(np.maximum(1.0, threshold / np.maximum(frequency, 1e-300)))
    return np.maximum(counts, 1) ** (-0.5 if rule == "inverse_square_root" else -1.0)


def _has_outline(table: AnnotationTable) -> np.ndarray:
    if table.segmentations is None:
        return np.zeros(table.num_instances, dtype=bool)
    return table.segmentations.given()


def _report(table: AnnotationTable, usable: int, *, outlined: bool) -> None:
    learnable = int(np.count_nonzero(~table.crowd))
    if not usable:
        what = "`segmentation`" if outlined else "box"
        mend = "data.train_transforms.copy_paste.shape=box to paste boxes, or " if outlined else ""
        raise DataError(
            f"{table.source}: none of its {learnable} objects has a {what}, so copy_paste has "
            f"nothing to paste; set {mend}data.train_transforms.copy_paste=null to do without"
        )
    if usable < learnable:
        logger.warning(
            "%s: %d of %d objects have no outline and are never pasted",
            table.source,
            learnable - usable,
            learnable,
        )
