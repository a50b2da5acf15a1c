"""Everything that is wrong with the files of a split, without stopping at the first fault."""

from __future__ import annotations

from pathlib import Path

from dense_lt.data.faults import Fault
from dense_lt.data.openimages.classes import read_classes
from dense_lt.data.openimages.hierarchy import read_hierarchy
from dense_lt.data.openimages.read import OpenImagesFiles
from dense_lt.data.openimages.rows import read_boxes, read_labels


def check_open_images(files: OpenImagesFiles) -> dict[Path, list[Fault]]:
    """Faults of the files of boxes and of labels, each with its line.

    Raises:
        DataError: a file cannot be read at all: it is missing, lacks a column, or a value is no
            number.
    """
    ids, _ = read_classes(files.classes)
    read_hierarchy(files.hierarchy, ids)
    found = {files.boxes: read_boxes(files.boxes, ids)[1].faults()}
    if files.labels is not None:
        found[files.labels] = read_labels(files.labels, ids)[1].faults()
    return found
