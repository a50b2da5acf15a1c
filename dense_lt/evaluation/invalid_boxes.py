"""Objects whose box cannot be: left out of scoring where they were left out of the data, too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Record = dict[str, Any]


def drop_invalid_boxes(
    records: Sequence[Record], sizes: NDArray[np.int32], notes: list[str]
) -> tuple[list[Record], NDArray[np.int64]]:
    """What `data.drop_invalid_boxes` does to the data set.

    Args:
        records: annotations.
        sizes: (G, 2) height and width of the image of each; 0 where they are not known.
        notes: gets a note if anything was changed.

    Returns:
        The annotations that stay, with boxes clipped to their image, and their indices.
    """
    boxes = [
        _clip(record.get("bbox"), height, width)
        for record, (height, width) in zip(records, sizes.tolist(), strict=True)
    ]
    kept = [index for index, box in enumerate(boxes) if box is not None]
    clipped = sum(boxes[index] != records[index]["bbox"] for index in kept)
    if len(kept) < len(records) or clipped:
        notes.append(
            f"data.drop_invalid_boxes: {len(records) - len(kept)} annotations without a usable box "
            f"are left out, {clipped} boxes are clipped to their image"
        )
    return [{**records[index], "bbox": boxes[index]} for index in kept], np.array(kept, np.int64)


def _clip(box: object, height: int, width: int) -> list[float] | None:
    """`box` xywh inside its image; None if it is none, or nothing of it is inside."""
    if not isinstance(box, list) or len(box) != 4:
        return None
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in box):
        return None
    x, y, across, down = box
    if across <= 0 or down <= 0:
        return None
    if height <= 0 or width <= 0 or (min(x, y) >= 0 and x + across <= width and y + down <= height):
        return box
    low, high = [max(x, 0), max(y, 0)], [min(x + across, width), min(y + down, height)]
    sides = [high[0] - low[0], high[1] - low[1]]
    return [*low, *sides] if min(sides) > 0 else None
