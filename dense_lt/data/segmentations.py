"""Outlines of objects: polygons or run lengths as in the file, decoded when they are needed.

They stay JSON text, without spaces. Of an outline as long as LVIS's are that is 545 bytes, where
64-bit numbers take 651; to make it takes a fifth of the time of packing numbers, and to decode it
no longer (benchmarks/annotations.py --parsers). No torch import: scoring needs this module.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import msgspec
import numpy as np
from pycocotools import mask

from dense_lt.data.columns import FileBytes
from dense_lt.data.run_lengths import problem_of_runs

coco_mask: Any = mask  # its type stubs know only some of the forms that its functions take

Segmentation = list[list[float]] | dict[str, Any] | None
"""As in COCO files: polygons [x1, y1, x2, y2, ...], or {"size": [h, w], "counts": str | list}."""

MIN_POLYGON = 6
"""Numbers of a triangle; pycocotools takes four numbers for a box."""

_EMPTY = b"[]"
_POLYGONS = msgspec.json.Decoder(list[list[float]])


@dataclass(frozen=True)
class PackedSegmentations:
    """Texts of all instances: that of instance i is `content[starts[i]:ends[i]]`."""

    content: bytes | FileBytes
    starts: np.ndarray  # (M,) int64
    ends: np.ndarray  # (M,) int64

    @classmethod
    def of(cls, segmentations: Iterable[Segmentation]) -> PackedSegmentations:
        """Pack them, in memory."""
        texts = [pack(one) for one in segmentations]
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        starts = np.concatenate([np.zeros(1, dtype=np.int64), ends])[: len(texts)]
        return cls(b"".join(texts), starts, ends)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, instance: int) -> bytes:
        return self.content[int(self.starts[instance]) : int(self.ends[instance])]

    def given(self) -> np.ndarray:
        """(M,) bool: instances that have a segmentation."""
        return self.ends - self.starts > len(_EMPTY)

    def select(self, instances: np.ndarray) -> PackedSegmentations:
        """Those of some instances, in this order; the texts are shared."""
        return PackedSegmentations(self.content, self.starts[instances], self.ends[instances])


def pack(segmentation: Segmentation) -> bytes:
    """Text that `unpack` turns back into the same masks."""
    if not segmentation:
        return b""
    if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), bytes):
        segmentation = {**segmentation, "counts": segmentation["counts"].decode("ascii")}
    return json.dumps(segmentation, separators=(",", ":")).encode()


def unpack(packed: bytes) -> Segmentation:
    """The inverse of `pack`: polygons of three points or more, or run lengths as in the file.

    Raises:
        ValueError: it is not JSON.
    """
    if len(packed) <= len(_EMPTY):
        return None
    if packed[:1] == b"{":
        return json.loads(packed)
    try:
        polygons = [own for own in _POLYGONS.decode(packed) if _is_long_enough(own)]
    except msgspec.DecodeError:  # something in it is no number, or none that is finite
        polygons = [own for own in json.loads(packed) or () if is_polygon(own)]
    return polygons or None


def is_polygon(value: object) -> TypeGuard[list[float]]:
    """Whether `value` is a list of three or more pairs of finite numbers."""
    return isinstance(value, list) and _is_long_enough(value) and are_numbers(value)


def _is_long_enough(numbers: Sequence[object]) -> bool:
    return len(numbers) >= MIN_POLYGON and len(numbers) % 2 == 0


def are_numbers(values: Sequence[Any]) -> bool:
    """Whether all are finite numbers: one infinity or NaN makes their sum infinite or NaN."""
    try:
        return math.isfinite(sum(values)) and bool not in map(type, values)
    except (TypeError, OverflowError):
        return False


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
    """Compressed run lengths of a segmentation in an image of this size; None for None.

    Raises:
        ValueError: its run lengths are of another size, or do not fill the image.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        if segmentation["size"] != [height, width]:
            raise ValueError(f"its size is {segmentation['size']}, its image is {[height, width]}")
        problem = problem_of_runs(segmentation["counts"], height, width)
        if problem:
            raise ValueError(problem)
        return compress_runs(segmentation)
    return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))


def to_mask(segmentation: Segmentation, height: int, width: int) -> np.ndarray:
    """(height, width) uint8, 1 inside; all 0 for None.

    Raises:
        ValueError: as for `to_runs`.
    """
    runs = to_runs(segmentation, height, width)
    if runs is None:
        return np.zeros((height, width), dtype=np.uint8)
    return coco_mask.decode(runs)
