"""An annotation file read into columns, and every place where it breaks a rule.

Columns tell, all rows at once, which records cannot break a rule; the others are read again from
the file and held against the rules of validate.py, which alone say what is wrong. So a sound file
of a million annotations costs a few comparisons. No torch import: scoring needs this module.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dense_lt.data.faults import Fault
from dense_lt.data.json_lists import JsonFile
from dense_lt.data.records import DECODERS, MISSING, NEITHER, AnnotationRows, ImageRows, Rows
from dense_lt.data.validate import (
    BOX_TOLERANCE,
    LONGEST,
    Known,
    Record,
    check_annotation,
    check_category,
    check_image,
    check_top,
    contradiction,
    is_integer,
)
from dense_lt.utils.progress import byte_bar


@dataclass(frozen=True)
class Scan:
    """What one pass over a file gives; with faults, columns are complete but hold placeholders."""

    images: ImageRows
    annotations: AnnotationRows
    categories: list[Any]
    faults: list[Fault]


def scan(path: Path, *, masks: bool, content: BinaryIO | None = None) -> Scan:
    """Read a file in LVIS or COCO format once, a few MB at a time, with its progress shown.

    Args:
        path: of the file.
        masks: whether segmentations are looked at; a box detector does without them.
        content: where the texts of segmentations are written; None only looks at them.

    Raises:
        DataError: the file is missing, cannot be read or is not JSON.
    """
    images, categories = ImageRows(), list[Any]()
    annotations = AnnotationRows((content or _Nowhere()) if masks else None)
    with JsonFile(path) as file:
        with byte_bar(f"reading {path.name}", len(file)) as bar:
            for piece in file.pieces(DECODERS):
                if piece.member == "images":
                    images.add(piece)
                elif piece.member == "annotations":
                    annotations.add(piece)
                else:
                    categories += piece.records
                bar.update(piece.stop - bar.n)
        counts = {"images": images.count, "categories": len(categories)}
        faults = list(check_top(file.kind, file.members, counts))
        if not faults:
            faults = list(_find_faults(file, images, annotations, categories, masks=masks))
    return Scan(images, annotations, categories, faults)


class _Nowhere(io.RawIOBase, BinaryIO):
    """Takes what is written to it, and keeps nothing."""

    def write(self, content: Any, /) -> int:
        return len(content)


def look_up(ids: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first place of every value in `ids`, and whether it is there at all."""
    order = np.argsort(ids, kind="stable")
    place = order[np.minimum(np.searchsorted(ids, values, sorter=order), len(ids) - 1)]
    return place, ids[place] == values


def _find_faults(
    file: JsonFile,
    images: ImageRows,
    annotations: AnnotationRows,
    categories: list[Any],
    *,
    masks: bool,
) -> Iterator[Fault]:
    category_ids, repeated = _ids_of(categories)
    has_frequency = any(isinstance(one, dict) and "frequency" in one for one in categories)
    for row, record in enumerate(categories):
        again = row in repeated
        yield from check_category(record, row, repeated=again, has_frequency=has_frequency)
    known_ids = frozenset(category_ids)

    again = _repeated(images.column("id"))
    odd = again | _odd_images(images, known_ids)
    for row, record in _records(file, images, odd):
        yield from check_image(record, row, repeated=bool(again[row]), category_ids=known_ids)

    again = _repeated(annotations.column("id"))
    odd = again | _odd_annotations(images, annotations, known_ids)
    known = Known(known_ids, _sizes(images) if odd.any() else {})
    for row, record in _records(file, annotations, odd):
        yield from check_annotation(
            record, row, repeated=bool(again[row]), known=known, masks=masks
        )
    yield from _contradictions(images, annotations)


def _ids_of(categories: list[Any]) -> tuple[list[int], set[int]]:
    """The different ids of categories, and the rows that give one again."""
    seen: dict[int, int] = {}
    repeated = set[int]()
    for row, record in enumerate(categories):
        own = record.get("id") if isinstance(record, dict) else None
        if is_integer(own) and seen.setdefault(own, row) != row:
            repeated.add(row)
    return list(seen), repeated


def _repeated(ids: np.ndarray) -> np.ndarray:
    """(rows,) bool: an entry before has the same id."""
    repeated = np.ones(len(ids), dtype=bool)
    repeated[np.unique(ids, return_index=True)[1]] = False
    return repeated & (ids != MISSING)


def _odd_images(images: ImageRows, category_ids: Collection[int]) -> np.ndarray:
    odd = images.column("odd", bool).copy()
    for side in ("height", "width"):
        odd |= (images.column(side) <= 0) | (images.column(side) > LONGEST)
    odd |= np.diff(images.ragged("file_names").offsets) == 0
    known = np.array(list(category_ids), dtype=np.int64)
    for name in ("negatives", "not_exhaustive"):
        lists = images.ragged(name)
        unknown = ~np.isin(lists.values, known)
        odd[np.searchsorted(lists.offsets, np.flatnonzero(unknown), side="right") - 1] = True
    return odd


def _odd_annotations(
    images: ImageRows, annotations: AnnotationRows, category_ids: Collection[int]
) -> np.ndarray:
    column = annotations.column
    odd = column("odd", bool) | (column("crowd", np.int8) == NEITHER)
    area = column("area", np.float64)
    odd |= (area < 0) | np.isinf(area)
    odd |= ~np.isin(column("category_id"), np.array(list(category_ids), dtype=np.int64))
    image, found = look_up(images.column("id"), column("image_id"))
    height, width = images.column("height")[image], images.column("width")[image]
    sized = found & (height > 0) & (width > 0)
    odd |= ~sized | ~_fits(column("bbox", np.float64).reshape(-1, 4), height, width)
    row, size = column("runs.row"), column("runs.size").reshape(-1, 2)
    odd[row] |= (size[:, 0] != height[row]) | (size[:, 1] != width[row])
    return odd


def _fits(boxes: np.ndarray, height: np.ndarray, width: np.ndarray) -> np.ndarray:
    """(M,) bool: boxes xywh with an area, in their image up to the tolerance."""
    x, y, across, down = boxes.T
    with np.errstate(over="ignore"):
        right, bottom = x + across, y + down
    in_part = (across > 0) & (down > 0) & (x < width) & (y < height) & (right > 0) & (bottom > 0)
    low = (x >= -BOX_TOLERANCE) & (y >= -BOX_TOLERANCE)
    return in_part & low & (right - width <= BOX_TOLERANCE) & (bottom - height <= BOX_TOLERANCE)


def _sizes(images: ImageRows) -> dict[int, tuple[int, int]]:
    """By image id; of an id that is given twice, those of the first."""
    rows = zip(*(images.column(name).tolist() for name in ("id", "height", "width")), strict=True)
    return {own: (height, width) for own, height, width in reversed(list(rows))}


def _records(file: JsonFile, rows: Rows, wanted: np.ndarray) -> Iterator[tuple[int, Record]]:
    """The records of some rows, as they are in the file."""
    chosen = np.flatnonzero(wanted)
    firsts = [span.first for span in rows.spans]
    bounds = np.searchsorted(chosen, [*firsts, rows.count])
    for span, start, stop in zip(rows.spans, bounds[:-1], bounds[1:], strict=True):
        if start < stop:
            records = file.plain(span.start, span.stop)
            for row in chosen[start:stop].tolist():
                yield row, records[row - span.first]


def _contradictions(images: ImageRows, annotations: AnnotationRows) -> Iterator[Fault]:
    """Images that list as absent what they have annotations of."""
    negatives = images.ragged("negatives")
    ids, owner = images.column("id"), np.repeat(np.arange(images.count), np.diff(negatives.offsets))
    image, found = look_up(ids, annotations.column("image_id"))
    categories = np.unique(np.concatenate([negatives.values, annotations.column("category_id")]))
    present = image * len(categories) + look_up(categories, annotations.column("category_id"))[0]
    absent = owner * len(categories) + look_up(categories, negatives.values)[0]
    both = np.unique(absent[np.isin(absent, present[found])])
    rows, places = np.divmod(both, max(1, len(categories)))
    for row in np.unique(rows).tolist():
        yield contradiction(int(ids[row]), categories[places[rows == row]].tolist())
