"""Class tables that meet by name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dense_lt.data.categories import CategoryTable
from dense_lt.data.epochs.repeated import image_labels
from dense_lt.data.table import AnnotationTable, Ragged, offsets_of
from dense_lt.utils.errors import DataError

MOST_NAMES = 5


def map_classes(
    table: AnnotationTable,
    own: CategoryTable,
    common: CategoryTable,
    names: Mapping[str, str | None],
) -> AnnotationTable:
    """`table` with the labels of another class table; classes meet by name.

    Classes of `common` that the table does not know were looked for in none of its images, so they
    are neither objects nor verified to be absent there.

    Args:
        table: with labels of `own`.
        own: its classes.
        common: the classes to use.
        names: name in `own` -> name in `common`, where these differ; None leaves the class out.

    Raises:
        DataError: a class has no counterpart, or `names` knows other classes.
    """
    labels = {name: label for label, name in enumerate(common.names)}
    wanted = [names.get(name, name) for name in own.names]
    _check_names(table.source, own, common, names)
    mapped = np.array([-1 if name is None else labels[name] for name in wanted], dtype=np.int32)
    kept = mapped[table.labels] >= 0
    owners = np.repeat(np.arange(len(table)), np.diff(table.offsets))
    complete = table.negatives is None and set(mapped.tolist()) >= set(range(len(common)))
    return replace(
        table,
        offsets=offsets_of(np.bincount(owners[kept], minlength=len(table))),
        annotation_ids=table.annotation_ids[kept],
        boxes=table.boxes[kept],
        labels=mapped[table.labels[kept]],
        areas=table.areas[kept],
        crowd=table.crowd[kept],
        negatives=None if complete else _map_lists(negatives_of(table, len(own)), mapped),
        not_exhaustive=_map_lists(table.not_exhaustive, mapped),
        segmentations=table.segmentations and table.segmentations.select(np.flatnonzero(kept)),
        flags=None if table.flags is None else table.flags[kept],
    )


def add_counts(categories: CategoryTable, tables: Sequence[AnnotationTable]) -> CategoryTable:
    """`categories` with the images and instances of all `tables`; groups stay as they are."""
    images = np.array(categories.image_counts)
    instances = np.array(categories.instance_counts)
    for table in tables:
        _, labels = image_labels(table)
        images += np.bincount(labels, minlength=len(categories))
        instances += np.bincount(table.labels[~table.crowd], minlength=len(categories))
    return replace(
        categories, image_counts=tuple(images.tolist()), instance_counts=tuple(instances.tolist())
    )


def negatives_of(table: AnnotationTable, num_classes: int) -> Ragged:
    """Classes that are known to be absent from every image, listed also where the file is silent.

    Args:
        table: annotations; without lists, every class was looked for in every image.
        num_classes: C.
    """
    if table.negatives is not None:
        return table.negatives
    absent = np.ones((len(table), num_classes), dtype=bool)
    absent[np.repeat(np.arange(len(table)), np.diff(table.offsets)), table.labels] = False
    labels = np.nonzero(absent)[1].astype(np.int32)
    return Ragged(labels, offsets_of(absent.sum(axis=1)))


def _check_names(
    source: str,
    own: CategoryTable,
    common: CategoryTable,
    names: Mapping[str, str | None],
) -> None:
    unknown = [name for name in names if name not in own.names]
    if unknown:
        raise DataError(
            f"{source}: has no class {_list(unknown)}, which `names` of this part is to translate; "
            "its keys are names in this file"
        )
    strange = {names.get(name, name) for name in own.names} - {None, *common.names}
    lost = [name for name in own.names if names.get(name, name) in strange]
    if lost:
        raise DataError(
            f"{source}: {len(lost)} of {len(own)} classes are not among those of the first part of "
            f"the mixture: {', '.join(lost)}. Give their counterparts in `names` of this part; to "
            f"paste there, null leaves objects out:\n  names: {_proposal(lost, common, names)}"
        )


def _proposal(lost: Sequence[str], common: CategoryTable, names: Mapping[str, str | None]) -> str:
    """The whole of `names` as YAML: what was given, and a line for each class without counterpart.

    Names that differ in capitals only are taken for counterparts.
    """
    by_lower = {name.casefold(): name for name in common.names}
    found = {name: by_lower.get(name.casefold()) for name in lost}
    return json.dumps({**names, **found}, ensure_ascii=False)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")


def _map_lists(lists: Ragged, mapped: np.ndarray) -> Ragged:
    """The same lists with other labels, those mapped to nothing left out."""
    return Ragged.from_lists(
        [label for label in mapped[lists[index]].tolist() if label >= 0]
        for index in range(len(lists))
    )
