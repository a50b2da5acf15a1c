"""Ground truth of Open Images: boxes, verified labels and the hierarchy -> columns, expanded.

Rules of the challenge (2018/2019; the reference is TensorFlow's object detection API):

- a box, and a label that was verified to be present, hold for all ancestors of their class too;
- a label that was verified to be absent holds for all descendants;
- the virtual root of the hierarchy is no class, and a class may stand under several parents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.csv_files import NUMBER, TEXT, Table, column_names, read_table
from dense_lt.evaluation.json_files import read_json
from dense_lt.utils.errors import DataError

CORNERS = ("XMin", "YMin", "XMax", "YMax")
"""In this order here; the files have XMax before YMin, so columns are read by name."""

Related = tuple[NDArray[np.int64], ...]
"""For every class: itself, then its ancestors (or descendants)."""


@dataclass(frozen=True)
class OpenImagesTruth:
    """Boxes of I images and C classes as columns over G expanded objects."""

    source: str
    image_ids: NDArray[np.bytes_]  # (I,) rising
    classes: tuple[str, ...]  # (C,) machine ids, such as /m/01g317
    names: tuple[str, ...]  # (C,) for people; not unique
    ancestors: Related
    image: NDArray[np.int32]  # (G,)
    category: NDArray[np.int32]  # (G,)
    boxes: NDArray[np.float64]  # (G, 4) x1 y1 x2 y2, fractions of the image
    group_of: NDArray[np.bool_]  # (G,) stands for five instances or more
    verified: NDArray[np.bool_]  # (I, C) classes that are evaluated in an image
    notes: tuple[str, ...] = ()


def read_truth(
    boxes: Path, classes: Path, *, labels: Path | None = None, hierarchy: Path | None = None
) -> OpenImagesTruth:
    """Read and expand.

    Args:
        boxes: CSV with ImageID, LabelName, XMin, XMax, YMin, YMax and IsGroupOf.
        classes: CSV without a header: machine id, name. Rows of other classes are left out.
        labels: CSV of verified image labels with ImageID, LabelName and Confidence (1 or 0).
        hierarchy: JSON of LabelName and Subcategory; None if the files are expanded already.

    Raises:
        DataError: a file cannot be read or lacks a column.
    """
    notes: list[str] = []
    ids, names = read_classes(classes)
    ancestors, descendants = read_hierarchy(hierarchy, ids)
    if hierarchy is None:
        notes.append("no --hierarchy: boxes and labels are taken as expanded already")
    box_table = _known(_read_boxes(boxes, notes), ids, boxes, notes)
    label_table = _read_labels(labels, ids, notes)
    image_ids = np.unique(np.concatenate([box_table["ImageID"], label_table["ImageID"]]))
    rows, category = expand_classes(box_table["category"], ancestors)
    image = np.searchsorted(image_ids, box_table["ImageID"])[rows].astype(np.int32)
    corners = np.stack([box_table[name] for name in CORNERS], axis=1)
    if not np.isfinite(corners).all():
        raise DataError(f"{boxes}: coordinates must be finite numbers")
    verified = np.zeros((len(image_ids), len(ids)), bool)
    verified[image, category] = True
    for present, related in ((True, ancestors), (False, descendants)):
        own = np.flatnonzero((label_table["Confidence"] == 1) == present)
        label_rows, label_category = expand_classes(label_table["category"][own], related)
        label_image = np.searchsorted(image_ids, label_table["ImageID"][own])
        verified[label_image[label_rows], label_category] = True
    return OpenImagesTruth(
        source=str(boxes),
        image_ids=image_ids,
        classes=ids,
        names=names,
        ancestors=ancestors,
        image=image,
        category=category.astype(np.int32),
        boxes=corners[rows],
        group_of=box_table["IsGroupOf"][rows] == 1,  # -1 is unknown
        verified=verified,
        notes=tuple(notes),
    )


def read_classes(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Machine ids and names of the classes; a header is recognised by its `LabelName`.

    Raises:
        DataError: the file cannot be read, or an id is given twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    pairs = [line.partition(",") for line in lines if line.strip()]
    pairs = pairs[1:] if pairs and pairs[0][0] == "LabelName" else pairs
    ids = tuple(own.strip() for own, _, _ in pairs)
    twice = sorted({own for own in ids if ids.count(own) > 1})
    if twice or not ids:
        raise DataError(f"{path}: class ids must be given, each once; twice: {', '.join(twice)}")
    return ids, tuple(name.strip().strip('"') for _, _, name in pairs)


def read_hierarchy(path: Path | None, classes: Sequence[str]) -> tuple[Related, Related]:
    """Ancestors and descendants of every class, among `classes`.

    Raises:
        DataError: the file cannot be read or is no hierarchy.
    """
    above: dict[str, set[str]] = {own: set() for own in classes}
    below: dict[str, set[str]] = {own: set() for own in classes}

    def walk(node: Mapping[str, Any], path_here: tuple[str, ...]) -> None:
        name = node["LabelName"]
        for ancestor in path_here:
            above.setdefault(name, set()).add(ancestor)
            below.setdefault(ancestor, set()).add(name)
        for child in node.get("Subcategory", ()):
            walk(child, (*path_here, name))

    if path is not None:
        root = read_json(path)
        try:
            for child in root["Subcategory"]:  # the root itself is virtual
                walk(child, ())
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{path}: no hierarchy: LabelName and Subcategory are needed, {error} is missing"
            ) from error
    index = {own: number for number, own in enumerate(classes)}
    return _related(above, index), _related(below, index)


def _related(names: Mapping[str, set[str]], index: Mapping[str, int]) -> Related:
    """Each class itself, then its relations in class order; each once."""
    return tuple(
        np.array([own, *sorted(index[n] for n in names[name] - {name} if n in index)])
        for name, own in index.items()
    )


def expand_classes(
    category: NDArray[np.integer], related: Related
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows, each as often as its class has relations, and the class of each copy."""
    lengths = np.array([len(own) for own in related], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    counts = lengths[category]
    rows = np.repeat(np.arange(len(category)), counts)
    nth = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, np.concatenate(related)[starts[category][rows] + nth]


def _read_boxes(path: Path, notes: list[str]) -> Table:
    columns = {"ImageID": TEXT, "LabelName": TEXT, **dict.fromkeys(CORNERS, NUMBER)}
    if "IsGroupOf" in column_names(path):
        return read_table(path, {**columns, "IsGroupOf": NUMBER})
    notes.append("the boxes have no column IsGroupOf: none counts as a group")
    table = read_table(path, columns)
    return {**table, "IsGroupOf": np.zeros(len(table["ImageID"]))}


def _read_labels(path: Path | None, classes: Sequence[str], notes: list[str]) -> Table:
    columns = {"ImageID": TEXT, "LabelName": TEXT, "Confidence": NUMBER}
    if path is not None:
        return _known(read_table(path, columns), classes, path, notes)
    notes.append("no --labels: only classes with boxes are evaluated in an image")
    return {**{name: np.zeros(0, kind) for name, kind in columns.items()}, "category": _NONE}


_NONE = np.zeros(0, np.int64)


def _known(table: Table, classes: Sequence[str], path: Path, notes: list[str]) -> Table:
    """Rows of the listed classes, with a column `category`."""
    category = class_index(table["LabelName"], classes)
    kept = np.flatnonzero(category >= 0)
    if len(kept) < len(category):
        notes.append(
            f"{path}: {len(category) - len(kept)} rows are of classes that --classes does not list"
        )
    return {name: values[kept] for name, values in {**table, "category": category}.items()}


def class_index(names: NDArray[np.bytes_], classes: Sequence[str]) -> NDArray[np.int64]:
    """Index of each name in `classes`, -1 if it is not there."""
    known = np.array(classes, dtype=TEXT)
    order = np.argsort(known)
    found = np.minimum(np.searchsorted(known[order], names), len(known) - 1)
    index = order[found]
    return np.where(known[index] == names, index, -1)
