"""CSV files of Open Images -> the columns and the classes that training uses.

No torch import: `dense-lt data convert` needs none.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dense_lt.data.categories import CategoryTable
from dense_lt.data.faults import raise_faults
from dense_lt.data.openimages.assemble import Images, Options, build_table
from dense_lt.data.openimages.cells import Relations
from dense_lt.data.openimages.classes import read_classes
from dense_lt.data.openimages.findings import Findings
from dense_lt.data.openimages.flags import unpack_flag
from dense_lt.data.openimages.groups import frequency_groups
from dense_lt.data.openimages.hierarchy import read_hierarchy
from dense_lt.data.openimages.rows import (
    BoxRows,
    LabelRows,
    count_repeated,
    read_boxes,
    read_labels,
)
from dense_lt.data.openimages.sizes import find_sizes
from dense_lt.data.table import AnnotationTable
from dense_lt.utils.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenImagesFiles:
    """What one split consists of; boxes and classes are enough."""

    boxes: Path
    classes: Path
    labels: Path | None = None
    hierarchy: Path | None = None
    sizes: Path | None = None
    image_folders: tuple[Path, ...] = ()

    def given(self) -> tuple[Path, ...]:
        """The files, those that are not there left out."""
        files = (self.boxes, self.classes, self.labels, self.hierarchy, self.sizes)
        return tuple(path for path in files if path is not None)


def read_open_images(
    files: OpenImagesFiles,
    options: Options | None = None,
    *,
    categories: CategoryTable | None = None,
    drop_invalid_boxes: bool = False,
    sizes_folder: Path | None = None,
) -> tuple[AnnotationTable, CategoryTable]:
    """Read and check one split.

    Labels 0 .. C-1 follow the file of classes; dataset ids are machine ids. Images have the ids
    1, 2, ... in the order of their names. Counts of the classes are those of the file: group-of
    boxes included, nothing expanded, so that AP1 .. AP5 never depend on the options.

    Args:
        files: boxes, classes and what else there is.
        options: group-of boxes and expansion.
        categories: those of training, all of which the file of classes must name, in any order;
            None makes them from this split.
        drop_invalid_boxes: leave boxes without area out and clip those that reach out of their
            image, instead of raising.
        sizes_folder: where sizes that are read from image headers are kept; None keeps nothing.

    Raises:
        DataError: a file is missing, has faults, or has other classes.
    """
    ids, names = read_classes(files.classes)
    if categories is not None:
        _compare_classes(ids, categories, files.classes)
        ids = tuple(str(own) for own in categories.dataset_ids)
    relations = Relations(*read_hierarchy(files.hierarchy, ids))
    boxes, findings = read_boxes(files.boxes, ids)
    _raise_or_tell(findings, drop=drop_invalid_boxes)
    labels = None
    if files.labels is not None:
        labels, findings = read_labels(files.labels, ids)
        _raise_or_tell(findings, drop=drop_invalid_boxes)
    images = _join_images(boxes, labels)
    if categories is None:
        categories = _categories(ids, names, boxes, images, relations)
    _tell(files, boxes, labels, images)
    sizes = find_sizes(images.names, files.sizes, files.image_folders, cache_folder=sizes_folder)
    table = build_table(
        str(files.boxes), boxes, labels, images, sizes, relations, options or Options()
    )
    return table, categories


def _raise_or_tell(findings: Findings, *, drop: bool) -> None:
    faults = findings.faults()
    raise_faults(str(findings.path), [one for one in faults if not (one.droppable and drop)])
    if faults:
        logger.warning(
            "%s: %s invalid boxes are left out or clipped", findings.path, f"{findings.total:,}"
        )


def _compare_classes(ids: tuple[str, ...], categories: CategoryTable, path: Path) -> None:
    wanted = {str(own) for own in categories.dataset_ids}
    missing, unknown = sorted(wanted - set(ids)), sorted(set(ids) - wanted)
    if missing or unknown:
        raise DataError(
            f"{path}: {len(missing)} classes of the training data are missing "
            f"({', '.join(missing[:5])}) and {len(unknown)} are unknown to it "
            f"({', '.join(unknown[:5])}); use one file of classes for both"
        )


def _join_images(boxes: BoxRows, labels: LabelRows | None) -> Images:
    """One rising list of the images of both files, and the place of each row in it."""
    parts = [boxes.names] if labels is None else [boxes.names, labels.names]
    names, place = np.unique(np.concatenate(parts), return_inverse=True)
    place = place.astype(np.int32)
    of_labels = None if labels is None else place[len(boxes.names) :][labels.image]
    return Images(names, place[: len(boxes.names)][boxes.image], of_labels)


def _categories(
    ids: tuple[str, ...],
    names: tuple[str, ...],
    boxes: BoxRows,
    images: Images,
    relations: Relations,
) -> CategoryTable:
    instances = np.bincount(boxes.category, minlength=len(ids)).tolist()
    cells = relations.cells(images.of_boxes, boxes.category)
    return CategoryTable(
        names=names,
        dataset_ids=ids,
        image_counts=tuple(np.bincount(cells % len(ids), minlength=len(ids)).tolist()),
        instance_counts=tuple(instances),
        groups=frequency_groups(instances),
    )


def _tell(files: OpenImagesFiles, boxes: BoxRows, labels: LabelRows | None, images: Images) -> None:
    """What was left out and what is assumed."""
    if not len(boxes.category):
        logger.warning("%s: holds no boxes, only a header; is it the right file?", files.boxes)
    repeated = count_repeated(images.of_boxes, boxes)
    told = [
        (boxes.unknown, f"boxes are of classes that {files.classes} does not list"),
        (repeated, "boxes repeat image, class and corners of another one; all of them count"),
        (labels.unknown if labels else 0, "labels are of other classes"),
        (labels.unverified if labels else 0, "labels are not verified and left out"),
    ]
    lines = [f"{count:,} {what}" for count, what in told if count]
    if len(boxes.flags) and (unpack_flag(boxes.flags, "IsGroupOf") == -1).all():
        lines.append("IsGroupOf is unknown: no box counts as a group")
    if labels is None:
        lines.append("no verified labels: every class counts as checked in every image")
    if files.hierarchy is None:
        lines.append("no hierarchy: nothing is expanded")
    if lines:
        logger.info("%s: %s", files.boxes, "; ".join(lines))
