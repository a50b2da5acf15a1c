"""LVIS or COCO annotation file -> GroundTruth; what the file leaves out is assumed, and said."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.annotation_columns import (
    Record,
    areas_of,
    boxes_of,
    encoded_masks,
    flags,
    integers,
)
from dense_lt.evaluation.checked_cells import checked_cells
from dense_lt.evaluation.ground_truth import GroundTruth, look_up
from dense_lt.evaluation.invalid_boxes import drop_invalid_boxes
from dense_lt.evaluation.json_files import read_json
from dense_lt.utils.errors import DataError

LVIS_GROUPS = {"r": "rare", "c": "common", "f": "frequent"}


class _Annotation(TypedDict, total=False):
    """What boxes need of an annotation; every value is checked later."""

    id: Any
    image_id: Any
    category_id: Any
    bbox: Any
    area: Any
    ignore: Any
    iscrowd: Any


class _Document(TypedDict, total=False):
    images: Any
    annotations: list[_Annotation]
    categories: Any


_WITHOUT_OUTLINES = msgspec.json.Decoder(_Document)


def read_ground_truth(
    path: Path, *, masks: bool = False, drop_invalid: bool = False
) -> GroundTruth:
    """Read an LVIS or COCO annotation file.

    Args:
        path: of the file.
        masks: encode the outlines, too.
        drop_invalid: leave annotations without a usable box out instead of refusing the file.

    Raises:
        DataError: the file cannot be read, or a record in it is broken.
    """
    document = read_json(path, needed=None if masks else _WITHOUT_OUTLINES)
    return ground_truth_from(document, source=str(path), masks=masks, drop_invalid=drop_invalid)


def ground_truth_from(
    document: Any, *, source: str, masks: bool = False, drop_invalid: bool = False
) -> GroundTruth:
    """Columns of a parsed annotation file; see `read_ground_truth`."""
    _check_parts(document, source)
    images, records = document["images"], document["annotations"]
    image_ids, order = _ids(images, f"{source}: images")
    images = [images[index] for index in order]
    category_ids, order = _ids(document["categories"], f"{source}: categories")
    categories = [document["categories"][index] for index in order]
    notes: list[str] = []
    records, image, category = _known(records, image_ids, category_ids, source, notes)
    sizes = _image_sizes(images)
    if drop_invalid:
        records, kept = drop_invalid_boxes(records, sizes[image], notes)
        image, category = image[kept], category[kept]
    notes += _ids_given_twice(records)
    encoded = encoded_masks(records, sizes[image], source) if masks else None
    boxes = boxes_of(records, encoded, source)
    negatives, not_exhaustive = checked_cells(images, category_ids, source, notes)
    groups, train_images, train_instances = _training(categories, source, notes)
    return GroundTruth(
        source=source,
        image_ids=image_ids,
        image_sizes=sizes,
        category_ids=category_ids,
        names=tuple(str(record.get("name", record["id"])) for record in categories),
        groups=groups,
        train_images=train_images,
        train_instances=train_instances,
        image=image,
        category=category,
        boxes=boxes,
        areas=areas_of(records, boxes, encoded, source, notes),
        ignore=flags(records, "ignore", source),
        crowd=flags(records, "iscrowd", source),
        masks=encoded,
        negatives=negatives,
        not_exhaustive=not_exhaustive,
        notes=tuple(notes),
    )


def _check_parts(document: Any, source: str) -> None:
    """Three lists of objects are needed."""
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or key not in document:
            raise DataError(
                f"{source}: `{key}` is missing; ground truth is a JSON object with images, "
                "annotations and categories. Were ground truth and predictions exchanged?"
            )
        records = document[key]
        if not isinstance(records, list):
            raise DataError(f"{source}: `{key}` is {_shown(records)}; a list of objects is needed")
        if set(map(type, records)) - {dict}:
            index = next(i for i, record in enumerate(records) if not isinstance(record, dict))
            raise DataError(
                f"{source}: {key}: entry {index} is {_shown(records[index])}; an object is "
                "needed: remove or mend it"
            )


def _shown(value: object) -> str:
    return {dict: "an object", list: "a list"}.get(type(value)) or json.dumps(value)[:40]


def _ids(records: Sequence[Record], where: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rising ids of `records`, and the order that sorts the records."""
    try:
        ids = np.array([record["id"] for record in records])
    except KeyError:
        raise DataError(f"{where}: an entry has no `id`") from None
    if len(ids) and ids.dtype.kind not in "iu":
        raise DataError(f"{where}: ids must be integers, found {records[0]['id']!r}")
    order = np.argsort(ids, kind="stable")
    ids = ids[order].astype(np.int64)
    twice = ids[1:][np.diff(ids) == 0]
    if len(twice):
        raise DataError(f"{where}: id {twice[0]} is given twice; ids must be unique")
    return ids, order


def _known(
    records: list[Record],
    image_ids: NDArray[np.int64],
    category_ids: NDArray[np.int64],
    source: str,
    notes: list[str],
) -> tuple[list[Record], NDArray[np.int32], NDArray[np.int32]]:
    """The annotations of listed images and categories, with the indices of both.

    The official packages drop the others without a word.
    """
    columns = [integers(records, key, source) for key in ("image_id", "category_id")]
    image, image_known = look_up(image_ids, columns[0])
    category, category_known = look_up(category_ids, columns[1])
    for what, known in (("an image", image_known), ("a category", category_known)):
        if not known.all():
            notes.append(
                f"{np.count_nonzero(~known)} annotations name {what} id that the ground truth "
                "does not list; left out, as the official packages do"
            )
    kept = np.flatnonzero(image_known & category_known)
    if len(kept) < len(records):
        records = [records[index] for index in kept]
    return records, image[kept].astype(np.int32), category[kept].astype(np.int32)


def _ids_given_twice(records: Sequence[Record]) -> list[str]:
    """Ids are not used here, but the official packages look annotations up by them."""
    counts = Counter(record["id"] for record in records if isinstance(record.get("id"), int))
    twice = [own for own, count in counts.items() if count > 1]
    if not twice:
        return []
    return [
        f"{len(twice)} annotation ids are given more than once, such as {twice[0]}; each annotation"
        " is an object of its own, but the official packages take the last in place of all of them"
    ]


def _image_sizes(images: Sequence[Record]) -> NDArray[np.int32]:
    sizes = [(image.get("height") or 0, image.get("width") or 0) for image in images]
    return np.array(sizes, dtype=np.int32).reshape(-1, 2)


def _training(
    categories: Sequence[Record], source: str, notes: list[str]
) -> tuple[tuple[str, ...] | None, tuple[int, ...] | None, tuple[int, ...] | None]:
    """Groups, image counts and instance counts in the training set, as far as the file knows."""
    groups: tuple[str, ...] | None = None
    given = [category.get("frequency") for category in categories]
    if given and all(letter in LVIS_GROUPS for letter in given):
        groups = tuple(LVIS_GROUPS[str(letter)] for letter in given)
    else:
        wrong = [letter for letter in given if letter is not None and letter not in LVIS_GROUPS]
        if wrong:
            raise DataError(
                f"{source}: `frequency` {wrong[0]!r} of a category; r, c or f is needed"
            )
        notes.append(
            f"{given.count(None)} categories have no `frequency`: APr, APc and APf need the "
            "training annotations (--train-annotations) or a table of categories (--categories)"
        )
    return groups, _count(categories, "image_count"), _count(categories, "instance_count")


def _count(categories: Sequence[Record], key: str) -> tuple[int, ...] | None:
    if not all(key in category for category in categories):
        return None
    return tuple(int(category[key]) for category in categories)
