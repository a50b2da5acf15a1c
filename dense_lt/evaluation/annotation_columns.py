"""Fields of annotation records as columns, each checked; what is wrong is named with its record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.masks import PackedMasks, encode_segmentation, mask_areas, mask_boxes
from dense_lt.utils.errors import DataError

Record = dict[str, Any]


def integers(records: Sequence[Record], key: str, source: str) -> NDArray[np.int64]:
    """(G,) of a field that every annotation needs."""
    try:
        values = np.array([record.get(key) for record in records])
    except ValueError:  # a list among them
        values = np.array([None])
    if len(values) and values.dtype.kind not in "iu":
        index = next(i for i, r in enumerate(records) if not isinstance(r.get(key), int))
        raise DataError(
            f"{source}: annotation {_name(records[index], index)} has `{key}` "
            f"{records[index].get(key)!r}; an integer is needed"
        )
    return values.astype(np.int64)


def flags(records: Sequence[Record], key: str, source: str) -> NDArray[np.bool_]:
    """(G,) of a field that is 0 or 1, false or true, or not there."""
    given = [0 if record.get(key) is None else record[key] for record in records]
    for index, flag in enumerate(given):
        if flag not in (0, 1):
            raise DataError(
                f"{source}: annotation {_name(records[index], index)} has `{key}` {flag!r}; 0 or 1 "
                "is needed"
            )
    return np.array(given, dtype=bool)


def encoded_masks(records: Sequence[Record], sizes: NDArray[np.int32], source: str) -> PackedMasks:
    """(G,) outlines as run lengths."""
    rles = []
    for index, (record, (height, width)) in enumerate(zip(records, sizes.tolist(), strict=True)):
        try:
            rles.append(encode_segmentation(record.get("segmentation"), (height, width)))
        except ValueError as error:
            raise DataError(
                f"{source}: annotation {_name(record, index)} has no usable `segmentation`: "
                f"{error}. Scoring masks needs one for every object"
            ) from error
    return PackedMasks.pack(rles)


def boxes_of(
    records: Sequence[Record], encoded: PackedMasks | None, source: str
) -> NDArray[np.float64]:
    """(G, 4) xywh; the box of the mask where no `bbox` is given."""
    if encoded is not None and not all("bbox" in record for record in records):
        return mask_boxes(encoded)
    try:
        boxes = np.array([record["bbox"] for record in records], dtype=np.float64).reshape(-1, 4)
        wrong = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < 0).any(axis=1)
        index = int(np.argmax(wrong)) if wrong.any() else None
    except (KeyError, TypeError, ValueError):
        index = next(i for i, r in enumerate(records) if not _is_box(r.get("bbox")))
        boxes = np.zeros((0, 4))
    if index is not None:
        raise DataError(
            f"{source}: annotation {_name(records[index], index)} has `bbox` "
            f"{records[index].get('bbox')!r}; [x, y, width, height] in pixels is needed, finite, "
            "with width and height of at least 0"
        )
    return boxes


def areas_of(
    records: Sequence[Record],
    boxes: NDArray[np.float64],
    encoded: PackedMasks | None,
    source: str,
    notes: list[str],
) -> NDArray[np.float64]:
    """(G,) `area`; where it is missing, of the mask if masks are scored, else of the box."""
    given = [record.get("area") for record in records]
    for index, area in enumerate(given):
        if not isinstance(area, int | float | None):
            raise DataError(
                f"{source}: annotation {_name(records[index], index)} has `area` {area!r}; a "
                "number of square pixels is needed, or no `area` at all"
            )
    if None not in given:
        return np.array(given, dtype=np.float64)
    own = boxes[:, 2] * boxes[:, 3]
    if encoded is not None:
        own = mask_areas(encoded)
    what = "box" if encoded is None else "mask"
    notes.append(
        f"{given.count(None)} annotations have no `area`; the area of their {what} is used"
    )
    return np.array([o if g is None else g for g, o in zip(given, own, strict=True)], np.float64)


def _is_box(box: object) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box)


def _name(record: Record, index: int) -> str:
    return f"{record['id']} (entry {index})" if "id" in record else f"entry {index}"
