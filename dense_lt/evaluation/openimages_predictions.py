"""Predictions for Open Images: CSV of ImageID, LabelName, Score, XMin, XMax, YMin, YMax."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.csv_files import NUMBER, ROWS, TEXT, Table, read_tables
from dense_lt.data.openimages.classes import class_index
from dense_lt.data.openimages.hierarchy import expand_classes
from dense_lt.evaluation.openimages_truth import CORNERS, OpenImagesTruth
from dense_lt.evaluation.pairing import run_starts
from dense_lt.utils.errors import DataError

COLUMNS = {"ImageID": TEXT, "LabelName": TEXT, "Score": NUMBER, **dict.fromkeys(CORNERS, NUMBER)}
HEADER = ("ImageID", "LabelName", "Score", "XMin", "XMax", "YMin", "YMax")


UNIT = 1.5
"""No coordinate of a box in fractions of its image is larger."""


@dataclass(frozen=True)
class OpenImagesPredictions:
    """Detections that are evaluated, in the order of the file: D columns."""

    image: NDArray[np.int32]  # (D,) index into the images of the ground truth
    category: NDArray[np.int32]  # (D,) index into its classes
    scores: NDArray[np.float64]  # (D,)
    boxes: NDArray[np.float64]  # (D, 4) x1 y1 x2 y2, fractions of the image
    rows: int
    """Of the file, those that are not evaluated included."""
    notes: tuple[str, ...] = ()


def read_openimages_predictions(
    path: Path, truth: OpenImagesTruth, *, expand: bool = False, rows: int = ROWS
) -> OpenImagesPredictions:
    """Read a file piece by piece and keep what is evaluated, so that memory stays small.

    Not evaluated, as in the reference: images without any annotation, classes that nobody verified
    in the image, boxes without area. A class that is not listed is an error in the reference; here
    it is left out with a note, as are unknown images and boxes without area; the note names the
    first row.

    Args:
        path: of the file; columns are found by name.
        truth: what is evaluated where.
        expand: copy every detection to all ancestors of its class.
        rows: that are parsed at once.

    Raises:
        DataError: the file cannot be read, a value is not usable, or no image is known.
    """
    counter = _Counter(path)
    parts = [
        _select(table, truth, counter, expand=expand) for table in read_tables(path, COLUMNS, rows)
    ]
    unknown = counter.left_out.get(UNKNOWN_IMAGE)
    if unknown and unknown.rows == counter.rows:
        raise DataError(
            f"{path}: not one of its images is in {truth.source}, such as {unknown.first}. Are "
            "these predictions for another data set or split?"
        )
    empty = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0), np.zeros((0, 4)))
    image, category, scores, boxes = map(np.concatenate, zip(empty, *parts, strict=True))
    return OpenImagesPredictions(image, category, scores, boxes, counter.rows, counter.notes())


UNKNOWN_IMAGE = "are on images without any annotation"
UNKNOWN_CLASS = "are of classes that --classes does not list"
NO_AREA = "have no area"


class _LeftOut(NamedTuple):
    """How many rows, and the first of them: "row 3: 'value'"."""

    rows: int
    first: str


class _Counter:
    """What was left out, and why; rows count from 1, below the header."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.left_out: dict[str, _LeftOut] = {}
        self.beyond: str | None = None

    def look_at(self, boxes: NDArray[np.float64]) -> None:
        """Remember the first box that no fraction of an image describes."""
        if self.beyond is None and len(boxes) and boxes.max() > UNIT:
            first = int(np.argmax((boxes > UNIT).any(axis=1)))
            self.beyond = (
                f"{self.path}: row {self.rows + 1 + first} has a coordinate above {UNIT}: "
                f"{boxes[first].tolist()}. Are these pixels? Fractions of the image are needed"
            )

    def leave_out(self, reason: str, rows: NDArray[np.bool_], values: NDArray[Any]) -> None:
        """Count those of the next `rows` that are flagged, and remember the first value."""
        if not rows.any():
            return
        first = int(np.argmax(rows))
        value = values[first].tolist()
        shown = repr(value.decode(errors="replace") if isinstance(value, bytes) else value)
        before = self.left_out.get(reason, _LeftOut(0, f"row {self.rows + 1 + first}: {shown}"))
        self.left_out[reason] = before._replace(rows=before.rows + int(np.count_nonzero(rows)))

    def notes(self) -> tuple[str, ...]:
        if not self.rows:
            return (f"{self.path}: there are no detections: precision is 0",)
        left_out = tuple(
            f"{self.path}: {own.rows} detections {reason}: left out, first {own.first}"
            for reason, own in self.left_out.items()
        )
        return left_out if self.beyond is None else (self.beyond, *left_out)


Columns = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]


def _select(table: Table, truth: OpenImagesTruth, counter: _Counter, *, expand: bool) -> Columns:
    scores = table["Score"]
    boxes = np.stack([table[name] for name in CORNERS], axis=1)
    _check(scores, boxes, f"{counter.path}: row", counter.rows + 1)
    counter.look_at(boxes)
    image = _image_index(table["ImageID"], truth.image_ids)
    category = class_index(table["LabelName"], truth.classes)
    area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    counter.leave_out(UNKNOWN_IMAGE, image < 0, table["ImageID"])
    counter.leave_out(UNKNOWN_CLASS, (image >= 0) & (category < 0), table["LabelName"])
    counter.leave_out(NO_AREA, (image >= 0) & (category >= 0) & ~area, boxes)
    counter.rows += len(scores)
    return _evaluated(truth, image, category, scores, boxes, expand=expand)


def _evaluated(
    truth: OpenImagesTruth,
    image: NDArray[np.int64],
    category: NDArray[np.int64],
    scores: NDArray[np.float64],
    boxes: NDArray[np.float64],
    *,
    expand: bool,
) -> Columns:
    """Those with an area whose class was verified in their image; -1 is unknown."""
    area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    kept = np.flatnonzero((image >= 0) & (category >= 0) & area)
    image, category = image[kept], category[kept]
    if expand:
        copies, category = expand_classes(category, truth.ancestors)
        kept, image = kept[copies], image[copies]
    evaluated = truth.verified[image, category]
    kept, image, category = kept[evaluated], image[evaluated], category[evaluated]
    return image.astype(np.int32), category.astype(np.int32), scores[kept], boxes[kept]


def select_predictions(
    truth: OpenImagesTruth,
    image_ids: NDArray[np.bytes_],
    classes: NDArray[np.bytes_],
    scores: NDArray[np.float64],
    boxes: NDArray[np.float64],
    *,
    expand: bool = False,
) -> OpenImagesPredictions:
    """What is evaluated of predictions in memory, by the rules of `read_openimages_predictions`.

    Args:
        truth: what is evaluated where.
        image_ids: (D,) names of images.
        classes: (D,) machine ids.
        scores: (D,) in [0, 1].
        boxes: (D, 4) x1 y1 x2 y2, fractions of the image.
        expand: copy every detection to all ancestors of its class.
    """
    image = _image_index(image_ids, truth.image_ids)
    category = class_index(classes, truth.classes)
    columns = _evaluated(truth, image, category, scores, boxes, expand=expand)
    return OpenImagesPredictions(*columns, rows=len(scores))


def _check(scores: NDArray[np.float64], boxes: NDArray[np.float64], where: str, first: int) -> None:
    wrong = ~((scores >= 0) & (scores <= 1))
    if wrong.any():
        index = int(np.argmax(wrong))
        raise DataError(
            f"{where} {first + index} has Score {scores[index]}; scores must be in [0, 1]"
        )
    wrong = ~np.isfinite(boxes).all(axis=1)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise DataError(f"{where} {first + index} has the box {boxes[index].tolist()}")


def _image_index(names: NDArray[np.bytes_], image_ids: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """Index of each image, -1 if it is not there; rows of one image usually come together."""
    starts = run_starts(names)
    if not len(image_ids) or not len(names):
        return np.full(len(names), -1)
    index = np.minimum(np.searchsorted(image_ids, names[starts]), len(image_ids) - 1)
    index[image_ids[index] != names[starts]] = -1
    return np.repeat(index, np.diff(np.append(starts, len(names))))


def write_openimages_predictions(
    path: Path,
    *,
    image_ids: Sequence[str],
    classes: Sequence[str],
    scores: NDArray[np.floating],
    boxes: NDArray[np.floating],
) -> None:
    """Write the challenge's file, with all digits: rounding makes ties, and ties have no order.

    Args:
        path: of the file.
        image_ids: (D,) names of images.
        classes: (D,) machine ids.
        scores: (D,) in [0, 1].
        boxes: (D, 4) x1 y1 x2 y2, fractions of the image.
    """
    columns = (image_ids, classes, scores.tolist(), *boxes[:, [0, 2, 1, 3]].T.tolist())
    draft = path.with_name(path.name + ".tmp")
    with draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(zip(*columns, strict=True))
    draft.replace(path)
