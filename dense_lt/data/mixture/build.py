"""Mixture section -> one training set of several, and the validation set of the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from dense_lt.config.data import DataConfig, MixtureConfig, MixturePartConfig
from dense_lt.data.categories import CategoryTable
from dense_lt.data.dataset import DetectionDataset
from dense_lt.data.mixture.classes import add_counts, map_classes
from dense_lt.data.mixture.dataset import ConcatenatedDataset
from dense_lt.data.table import AnnotationTable

Adapt = Callable[[AnnotationTable, CategoryTable], tuple[AnnotationTable, CategoryTable]]
"""What is done to a table and its classes before a data set is made of them."""


class Splits(NamedTuple):
    """Data sets of one part of a mixture, or of the whole, and their classes."""

    train: DetectionDataset | None
    val: DetectionDataset | None
    categories: CategoryTable


class BuildPart(Protocol):
    """Builds the splits of a data section that is no mixture."""

    def __call__(
        self,
        config: DataConfig,
        *,
        categories: CategoryTable | None,
        splits: Sequence[str],
        adapt: Adapt | None = None,
    ) -> tuple[DetectionDataset | None, DetectionDataset | None, CategoryTable]:
        """Training split, validation split, classes."""
        ...


def build_mixture(
    config: DataConfig,
    mixture: MixtureConfig,
    build_part: BuildPart,
    *,
    categories: CategoryTable | None,
    splits: Sequence[str],
) -> Splits:
    """The training images of all parts, with the classes of the first; its validation split.

    Args:
        config: data section.
        mixture: its data set.
        build_part: builds one part.
        categories: those of a checkpoint, counts of all parts included; None reads them.
        splits: which to build.

    Raises:
        DataError: a class of a part has no counterpart in the first, or a file has faults.
    """

    def of(part: MixturePartConfig) -> DataConfig:
        return config.model_copy(update={"dataset": part.dataset})

    first, *others = mixture.parts
    train, val, common = build_part(of(first), categories=categories, splits=splits)
    if train is None:
        return Splits(None, val, common)
    parts = [train]
    for part in others:
        adapt = partial(_adapt, common=common, names=part.names)
        built, _, _ = build_part(of(part), categories=None, splits=("train",), adapt=adapt)
        assert built is not None, "the training split was asked for"
        parts.append(built)
    if categories is None:
        common = add_counts(common, [part.table for part in parts[1:]])
    weights = [part.weight for part in mixture.parts if part.weight is not None]
    return Splits(ConcatenatedDataset(parts, common, weights or None), val, common)


def _adapt(
    table: AnnotationTable,
    own: CategoryTable,
    *,
    common: CategoryTable,
    names: Mapping[str, str | None],
) -> tuple[AnnotationTable, CategoryTable]:
    return map_classes(table, own, common, names), common
