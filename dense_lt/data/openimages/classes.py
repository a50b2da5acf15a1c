"""Classes of Open Images: machine ids (MIDs) such as /m/01g317, names, and their order.

Names are not unique ("Bench" and "Mouse" stand twice), so nothing is looked up by them. No torch
import: scoring needs this module.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.csv_files import TEXT, refuse_separators, unreadable
from dense_lt.utils.errors import DataError


def read_classes(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Machine ids and names of the classes, in the order of the file: that of the labels.

    Args:
        path: CSV of machine id and name; a header is recognised by its `LabelName`.

    Raises:
        DataError: the file cannot be read, or an id is given twice or not at all.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [(row[0].strip(), row[1:], reader.line_num) for row in reader if row]
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error
    rows = rows[1:] if rows and rows[0][0] == "LabelName" else rows
    if rows and not any(rest for _, rest, _ in rows):  # names may be missing
        refuse_separators(path, rows[0][0])
    line_of: dict[str, int] = {}
    for own, _, line in rows:
        if not own or own in line_of:
            problem = f"class id {own!r} is also in line {line_of[own]}" if own else "no class id"
            raise DataError(f"{path}: line {line}: {problem}; give every class one line of its own")
        line_of[own] = line
    if not rows:
        raise DataError(f"{path}: holds no classes; lines of class id and name are needed")
    return tuple(line_of), tuple(",".join(rest).strip() or own for own, rest, _ in rows)


def class_index(names: NDArray[np.bytes_], classes: Sequence[str]) -> NDArray[np.int64]:
    """Index of each name in `classes`, -1 if it is not there."""
    known = np.array([own.encode() for own in classes], dtype=TEXT)
    order = np.argsort(known)
    found = np.minimum(np.searchsorted(known[order], names), len(known) - 1)
    index = order[found]
    return np.where(known[index] == names, index, -1)
