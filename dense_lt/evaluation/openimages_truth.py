"""Ground truth of Open Images: boxes, verified labels and the hierarchy -> columns, expanded.

How they are expanded is said in `data/openimages/hierarchy.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.csv_files import NUMBER, TEXT, Table, column_names, read_table
from dense_lt.data.openimages.classes import class_index, read_classes
from dense_lt.data.openimages.hierarchy import Related, expand_classes, read_hierarchy
from dense_lt.utils.errors import DataError

CORNERS = ("XMin", "YMin", "XMax", "YMax")
"""In this order here; the files have XMax before YMin, so columns are read by name."""


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

    def only_images(self, image_ids: NDArray[np.bytes_]) -> OpenImagesTruth:
        """The images whose id is among `image_ids`, with their annotations."""
        indices = np.flatnonzero(np.isin(self.image_ids, image_ids))
        new_index = np.full(len(self.image_ids), -1, np.int32)
        new_index[indices] = np.arange(len(indices))
        kept = np.flatnonzero(new_index[self.image] >= 0)
        return replace(
            self,
            image_ids=self.image_ids[indices],
            image=new_index[self.image[kept]],
            category=self.category[kept],
            boxes=self.boxes[kept],
            group_of=self.group_of[kept],
            verified=self.verified[indices],
        )


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
