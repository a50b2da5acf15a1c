"""Rows of boxes and of verified labels: CSV files of millions of lines -> compact columns.

A row takes 28 bytes as a box and 9 as a label while it is read, whatever the file says beside it.
No torch import: scoring needs this storey's readers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dense_lt.data.csv_files import FLAG, NUMBER, TEXT, Table, column_names, read_tables
from dense_lt.data.openimages.classes import class_index
from dense_lt.data.openimages.findings import Findings, Rule
from dense_lt.data.openimages.flags import FLAGS, pack_flags
from dense_lt.utils.errors import DataError

CORNERS = ("XMin", "YMin", "XMax", "YMax")
"""In this order here; the files have XMax before YMin, so columns are read by name."""

TOLERANCE = 0.01
"""Part of the image by which a box may reach out of it; it is clipped without a word."""

NOT_FINITE = Rule(
    "XMin, YMin, XMax, YMax", "a corner is not a finite number", "correct or remove the line"
)
OUTSIDE = Rule(
    "XMin, YMin, XMax, YMax",
    "reaches out of its image; corners are fractions of width and height, from 0 to 1",
    "divide pixels by the size of the image, or correct the box",
    droppable=True,
)
WITHOUT_AREA = Rule(
    "XMin, YMin, XMax, YMax",
    "has no area inside its image",
    "correct or remove the box",
    droppable=True,
)
NOT_VERIFIED = Rule("Confidence", "must be from 0 (absent) to 1 (present)", "correct the label")


@dataclass(frozen=True)
class BoxRows:
    """N boxes of listed classes, in the order of the file."""

    image: NDArray[np.int32]  # (N,) index into `names`
    names: NDArray[np.bytes_]  # of images, in the order of the file; may repeat
    category: NDArray[np.int16]  # (N,)
    corners: NDArray[np.float32]  # (N, 4) x1 y1 x2 y2, fractions of the image, inside it
    flags: NDArray[np.uint16]  # (N,) see flags.py
    unknown: int
    """Rows of classes that are not listed."""


@dataclass(frozen=True)
class LabelRows:
    """N labels of listed classes that somebody verified."""

    image: NDArray[np.int32]  # (N,) index into `names`
    names: NDArray[np.bytes_]
    category: NDArray[np.int16]  # (N,)
    present: NDArray[np.bool_]  # (N,)
    unknown: int
    unverified: int
    """Rows with a confidence between 0 and 1: a machine's guess, which is no verification."""


def read_boxes(path: Path, classes: Sequence[str]) -> tuple[BoxRows, Findings]:
    """Read a file of boxes in any published form; columns of flags may be missing.

    Returns:
        The boxes that have an area, clipped to their image, and what is wrong with the file.

    Raises:
        DataError: the file cannot be read, lacks a column, or names none of the classes.
    """
    header = column_names(path)
    present = [name for name in FLAGS if name in header]
    columns = {"ImageID": TEXT, "LabelName": TEXT, **dict.fromkeys(CORNERS, NUMBER)}
    columns |= dict.fromkeys(present, FLAG)
    names, findings, done, parts = _Names(), Findings(path), 0, []
    for table in _with_progress(path, columns):
        category = class_index(table["LabelName"], classes)
        corners = np.stack([table[name] for name in CORNERS], axis=1)
        valid = _check_boxes(corners, done, findings)
        _check_flags(table, present, done, findings)
        kept = np.flatnonzero(valid & (category >= 0))
        parts.append(
            (
                names.index(table["ImageID"][kept]),
                category[kept].astype(np.int16),
                corners[kept].astype(np.float32),
                pack_flags({name: table[name][kept] for name in present}, len(kept)),
                int(np.count_nonzero(category < 0)),
            )
        )
        done += len(category)
    unknown = sum(part[-1] for part in parts)
    _refuse_other_classes(path, done, unknown)
    empty = (np.zeros(0, np.int32), np.zeros(0, np.int16), np.zeros((0, 4), np.float32))
    image, category, corners, flags = _join(parts, (*empty, np.zeros(0, np.uint16)))
    return BoxRows(image, names.all(), category, corners, flags, unknown), findings


def count_repeated(image: NDArray[np.int32], boxes: BoxRows) -> int:
    """Boxes that have the image, the class and the corners of one before.

    Rows are told apart by 64-bit hashes: of 12 million, one pair meets by chance in 10^5 readings.

    Args:
        image: (N,) image of every box, each image under one number.
        boxes: the N boxes.
    """
    halves = np.ascontiguousarray(boxes.corners).view(np.uint64).reshape(-1, 2)
    owner = image.astype(np.uint64) << np.uint64(16) | boxes.category.astype(np.uint64)
    hashes = np.zeros(len(owner), np.uint64)
    for part in (owner, halves[:, 0], halves[:, 1]):
        hashes ^= part
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    hashes.sort()
    return int(np.count_nonzero(hashes[1:] == hashes[:-1]))


def read_labels(path: Path, classes: Sequence[str]) -> tuple[LabelRows, Findings]:
    """Read a file of verified image labels.

    Raises:
        DataError: the file cannot be read, lacks a column, or names none of the classes.
    """
    columns = {"ImageID": TEXT, "LabelName": TEXT, "Confidence": NUMBER}
    names, findings, done, parts = _Names(), Findings(path), 0, []
    for table in _with_progress(path, columns):
        category, confidence = class_index(table["LabelName"], classes), table["Confidence"]
        wrong = np.flatnonzero(~((confidence >= 0) & (confidence <= 1)))
        findings.add(NOT_VERIFIED, done + wrong, confidence[wrong])
        verified = (confidence == 0) | (confidence == 1)
        kept = np.flatnonzero(verified & (category >= 0))
        parts.append(
            (
                names.index(table["ImageID"][kept]),
                category[kept].astype(np.int16),
                confidence[kept] == 1,
                int(np.count_nonzero(category < 0)),
                int(np.count_nonzero(~verified & (category >= 0))),
            )
        )
        done += len(category)
    unknown, unverified = (sum(part[place] for part in parts) for place in (3, 4))
    _refuse_other_classes(path, done, unknown)
    empty = (np.zeros(0, np.int32), np.zeros(0, np.int16), np.zeros(0, bool))
    image, category, present = _join(parts, empty)
    return LabelRows(image, names.all(), category, present, unknown, unverified), findings


class _Names:
    """Names of images as they come: those of one image usually stand together, and take one."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.bytes_]] = []
        self._count = 0

    def index(self, ids: NDArray[np.bytes_]) -> NDArray[np.int32]:
        """(n,) place of each of `ids` in `all`."""
        changes = np.ones(len(ids), bool)
        changes[1:] = ids[1:] != ids[:-1]
        own = ids[changes]
        longest = max(1, int(np.char.str_len(own).max(initial=0)))
        self._parts.append(own.astype(f"S{longest}"))
        index = self._count + np.cumsum(changes) - 1
        self._count += len(own)
        return index.astype(np.int32)

    def all(self) -> NDArray[np.bytes_]:
        return np.concatenate([np.zeros(0, "S1"), *self._parts])


def _check_boxes(corners: NDArray[np.float64], done: int, findings: Findings) -> NDArray[np.bool_]:
    """(n,) which boxes have an area; clips `corners` (n, 4) in place."""
    broken = np.flatnonzero(~np.isfinite(corners).all(axis=1))
    findings.add(NOT_FINITE, done + broken, corners[broken])
    corners[broken] = 0
    out = np.flatnonzero((corners < -TOLERANCE).any(axis=1) | (corners > 1 + TOLERANCE).any(axis=1))
    findings.add(OUTSIDE, done + out, corners[out])
    given = corners.copy()
    np.clip(corners, 0, 1, out=corners)
    valid = np.all(corners[:, 2:] > corners[:, :2], axis=1)
    empty = np.setdiff1d(np.flatnonzero(~valid), np.concatenate([broken, out]))
    findings.add(WITHOUT_AREA, done + empty, given[empty])
    return valid


def _check_flags(table: Table, present: Sequence[str], done: int, findings: Findings) -> None:
    for name in present:
        wrong = np.flatnonzero((table[name] < -1) | (table[name] > 1))
        rule = Rule(name, "must be 1 (yes), 0 (no) or -1 (unknown)", "correct the line")
        findings.add(rule, done + wrong, table[name][wrong])


def _refuse_other_classes(path: Path, rows: int, unknown: int) -> None:
    if rows and unknown == rows:
        raise DataError(
            f"{path}: not one of its {rows:,} rows is of a listed class; is `classes` the file of "
            "another release?"
        )


def _join(parts: list[tuple], empty: Sequence[NDArray[np.generic]]) -> list[NDArray]:
    """Columns of all `parts`, one by one, so that at most one of them is held twice."""
    columns = [list(column) for column in zip(*parts, strict=True)] or [[] for _ in empty]
    parts.clear()
    joined = []
    for column, start in zip(columns, empty, strict=False):
        joined.append(np.concatenate([start, *column]))
        column.clear()
    return joined


def _with_progress(path: Path, columns: dict[str, str]) -> Iterator[Table]:
    with tqdm(
        total=_estimate_rows(path), desc=path.name, unit="row", unit_scale=True, delay=2
    ) as bar:
        for table in read_tables(path, columns):
            yield table
            bar.update(len(table["ImageID"]))


def _estimate_rows(path: Path) -> int:
    """From the size of the file and its first lines."""
    with path.open("rb") as file:
        start = file.read(1 << 16)
    return round(path.stat().st_size * start.count(b"\n") / max(len(start), 1))
