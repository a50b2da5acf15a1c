"""LVIS/COCO result files: lists of {image_id, category_id, score, bbox and/or segmentation}."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.json_files import PIECE, read_records
from dense_lt.evaluation.masks import PackedMasks, box_as_polygon, encode_segmentation
from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.shards import read_columns
from dense_lt.utils.errors import DataError

Record = dict[str, Any]
Sizes = Mapping[int, tuple[int, int]]
"""Image id -> (height, width)."""

BLOCK = 10_000
"""Detections that are written at once."""


def read_predictions(
    path: Path,
    *,
    masks: bool = False,
    sizes: Sizes | None = None,
    images: Container[int] | None = None,
    piece: int = PIECE,
    notes: list[str] | None = None,
) -> Predictions:
    """Read a JSON result file, or an npz file or a folder of them (see `shards.py`).

    Args:
        path: of the file or folder.
        masks: read the masks too. They are read in any case if the entries have no boxes. An entry
            with a box but without a mask gets the rectangle, as in the official packages.
        sizes: of the images, for polygons and rectangles.
        images: leave out entries of others, of a JSON file.
        piece: characters that are parsed at once.
        notes: gets a note if rectangles stand in for masks.

    Raises:
        DataError: the file cannot be read, or an entry is broken; the message gives its index.
    """
    if path.is_dir() or (path.suffix == ".npz" and path.exists()):
        return read_columns(path)
    parts: list[Predictions] = []
    first = rectangles = 0
    for records in read_records(path, piece):
        if images is not None:
            records = [record for record in records if record.get("image_id") in images]
        parts.append(
            predictions_from(records, str(path), masks=masks, sizes=sizes or {}, first=first)
        )
        first += len(records)
        if masks:
            rectangles += sum([record.get("segmentation") is None for record in records])
    if rectangles and notes is not None:
        what = (
            "holds no masks; its boxes were"
            if rectangles == first
            else f"holds no mask for {rectangles:,} of {first:,} detections; their boxes were"
        )
        notes.append(f"{path} {what} scored as rectangles, as in the official packages")
    return Predictions.join(parts, str(path), masks=masks)


def predictions_from(
    records: Sequence[Record],
    source: str,
    *,
    masks: bool = False,
    sizes: Sizes | None = None,
    first: int = 0,
) -> Predictions:
    """Columns of parsed entries, the first of which is entry `first` of the file; checked."""
    if set(map(type, records)) - {dict}:
        index = next(i for i, record in enumerate(records) if not isinstance(record, dict))
        raise DataError(f"{source}: entry {first + index} is not an object: {records[index]!r}")
    if not records:
        return Predictions.empty(source, masks=masks)
    with_boxes = "bbox" in records[0]
    if not with_boxes and "segmentation" not in records[0]:
        raise DataError(f"{source}: entry {first} has neither `bbox` nor `segmentation`")
    image_ids = _integers(records, "image_id", source, first)
    packed = None
    if masks or not with_boxes:
        packed = _masks(records, image_ids, sizes or {}, source, first)
    predictions = Predictions(
        source,
        image_ids,
        _integers(records, "category_id", source, first),
        _numbers(records, "score", source, first).astype(np.float64),
        _boxes(records, source, first) if with_boxes else None,
        packed,
    )
    predictions.check(first)
    return predictions


def _numbers(
    records: Sequence[Record], key: str, source: str, first: int
) -> NDArray[np.int64] | NDArray[np.float64]:
    try:
        given = list(map(itemgetter(key), records))
        values = np.array(given)
    except (KeyError, ValueError):
        given, values = [], np.zeros((0, 0))
    if bool in set(map(type, given)):  # NumPy takes them for 0 and 1 among numbers
        values = np.zeros((0, 0))
    if values.dtype.kind not in "iuf" or values.ndim != 1:
        index = next(i for i, r in enumerate(records) if not _is_number(r.get(key)))
        found = repr(records[index][key]) if key in records[index] else "missing"
        raise DataError(f"{source}: entry {first + index}: `{key}` is {found}; a number is needed")
    return values


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _integers(records: Sequence[Record], key: str, source: str, first: int) -> NDArray[np.int64]:
    values = _numbers(records, key, source, first)
    whole = values.astype(np.int64)
    if values.dtype.kind == "f" and (wrong := whole != values).any():
        index = int(np.argmax(wrong))
        raise DataError(
            f"{source}: entry {first + index}: `{key}` is {values[index]}; an integer is needed"
        )
    return whole


def _boxes(records: Sequence[Record], source: str, first: int) -> NDArray[np.float64]:
    try:
        boxes = np.array([record["bbox"] for record in records])
    except (KeyError, ValueError):
        boxes = np.zeros(0)
    if boxes.shape != (len(records), 4) or boxes.dtype.kind not in "iuf":
        index = next(i for i, r in enumerate(records) if not _is_box(r.get("bbox")))
        found = repr(records[index]["bbox"]) if "bbox" in records[index] else "missing"
        raise DataError(
            f"{source}: entry {first + index}: `bbox` is {found}; [x, y, width, height] is needed "
            "in every entry, or in none if masks are scored"
        )
    return boxes.astype(np.float64)


def _is_box(box: object) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))


def _masks(
    records: Sequence[Record], image_ids: NDArray[np.int64], sizes: Sizes, source: str, first: int
) -> PackedMasks:
    compressed = _compressed(records)
    if compressed is not None and _fit(compressed, image_ids, sizes):
        return compressed
    rles = []
    for index, (record, image_id) in enumerate(zip(records, image_ids.tolist(), strict=True)):
        segmentation = record.get("segmentation")
        try:
            if segmentation is None:
                segmentation = box_as_polygon(_boxes([record], source, first + index)[0].tolist())
            rles.append(encode_segmentation(segmentation, sizes.get(image_id)))
        except ValueError as error:
            raise DataError(
                f"{source}: entry {first + index}: `segmentation` cannot be used: {error}"
            ) from error
    return PackedMasks.pack(rles)


def _fit(masks: PackedMasks, image_ids: NDArray[np.int64], sizes: Sizes) -> bool:
    """Whether all masks are of the size of their image, where that is known.

    Whether their runs fill it is looked at where masks are compared: few of them ever are.
    """
    images, place = np.unique(image_ids, return_inverse=True)
    unknown = (0, 0)
    wanted = np.array([sizes.get(image_id) or unknown for image_id in images.tolist()])
    wanted = wanted.reshape(-1, 2)[place]
    return bool(((wanted == masks.sizes) | (wanted == 0)).all())


def _compressed(records: Sequence[Record]) -> PackedMasks | None:
    """Pack without a look at each, if every mask is compressed already, as detectors write them."""
    try:
        rles = list(map(itemgetter("segmentation"), records))
        pairs = map(itemgetter("size"), rles)
        sizes = np.array(list(chain.from_iterable(pairs)), dtype=np.int32)
        counts = list(map(itemgetter("counts"), rles))
        text = "".join(counts)
    except (KeyError, TypeError, ValueError):
        return None
    if len(sizes) != 2 * len(rles) or not text.isascii():
        return None
    lengths = np.fromiter(map(len, counts), np.int64, len(counts))
    return PackedMasks.from_text(text.encode(), lengths, sizes.reshape(-1, 2))


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write a result file that reads back to the same numbers, bit for bit; whole or not at all."""
    draft = path.with_name(path.name + ".tmp")
    with draft.open("w", encoding="utf-8") as file:
        file.write("[")
        for start in range(0, len(predictions), BLOCK):
            records = _records(predictions, start, min(start + BLOCK, len(predictions)))
            file.write((",\n" if start else "\n") + ",\n".join(map(json.dumps, records)))
        file.write("]\n")
    draft.replace(path)


def _records(predictions: Predictions, start: int, stop: int) -> list[Record]:
    block = slice(start, stop)
    records: list[Record] = [
        {"image_id": image_id, "category_id": category_id, "score": score}
        for image_id, category_id, score in zip(
            predictions.image_ids[block].tolist(),
            predictions.category_ids[block].tolist(),
            predictions.scores[block].tolist(),
            strict=True,
        )
    ]
    if predictions.boxes is not None:
        for record, box in zip(records, predictions.boxes[block].tolist(), strict=True):
            record["bbox"] = box
    if predictions.masks is not None:
        for record, rle in zip(
            records, predictions.masks.take(np.arange(start, stop)), strict=True
        ):
            record["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode("ascii")}
    return records
