"""Outlines of objects: polygons or run lengths, packed into bytes and made into masks.

No torch import: scoring needs this module.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from pycocotools import mask

coco_mask: Any = mask  # its type stubs know only some of the forms that its functions take

Segmentation = list[list[float]] | dict[str, Any] | None
"""As in COCO files: polygons [x1, y1, x2, y2, ...], or {"size": [h, w], "counts": str | list}."""

NONE, POLYGONS, RUNS = b"", b"P", b"R"
"""First byte of a packed segmentation."""


def pack(segmentation: Segmentation) -> bytes:
    """Bytes that `unpack` turns back into the same masks.

    Coordinates keep their 64 bits: rasterising rounds multiples of 0.1 pixel at exact halves.
    """
    if not segmentation:
        return NONE
    if isinstance(segmentation, list):
        lengths = [len(polygon) for polygon in segmentation]
        header = struct.pack(f"<cI{len(lengths)}I", POLYGONS, len(lengths), *lengths)
        return header + b"".join(np.asarray(one, dtype="<f8").tobytes() for one in segmentation)
    runs = compress_runs(segmentation)
    height, width = runs["size"]
    return struct.pack("<cII", RUNS, height, width) + runs["counts"]


def unpack(packed: np.ndarray | bytes) -> Segmentation:
    """The inverse of `pack`; run lengths come back compressed, as bytes."""
    content = bytes(packed)
    if content == NONE:
        return None
    if content[:1] == RUNS:
        height, width = struct.unpack_from("<II", content, 1)
        return {"size": [height, width], "counts": content[9:]}
    (count,) = struct.unpack_from("<I", content, 1)
    lengths = struct.unpack_from(f"<{count}I", content, 5)
    numbers = np.frombuffer(content, dtype="<f8", offset=5 + 4 * count).tolist()
    polygons, start = [], 0
    for length in lengths:
        polygons.append(numbers[start : start + length])
        start += length
    return polygons


def compress_runs(runs: dict[str, Any]) -> dict[str, Any]:
    """Run lengths in COCO's compressed form with `counts` as bytes, whichever form they are in."""
    height, width = (int(side) for side in runs["size"])
    counts = runs["counts"]
    if isinstance(counts, list):
        return coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {
        "size": [height, width],
        "counts": counts.encode() if isinstance(counts, str) else counts,
    }


def to_runs(segmentation: Segmentation, height: int, width: int) -> dict[str, Any] | None:
    """Compressed run lengths of a segmentation in an image of this size; None for None."""
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        return compress_runs(segmentation)
    return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))


def to_mask(segmentation: Segmentation, height: int, width: int) -> np.ndarray:
    """(height, width) uint8, 1 inside; all 0 for None."""
    runs = to_runs(segmentation, height, width)
    if runs is None:
        return np.zeros((height, width), dtype=np.uint8)
    return coco_mask.decode(runs)
