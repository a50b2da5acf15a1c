"""Run-length encoded masks, many at once: packed in two arrays instead of one object each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.utils.errors import DataError

Rle = dict[str, Any]
"""pycocotools' form: {"size": [height, width], "counts": bytes}."""


BLOCK = 255
"""pycocotools 2.0.11 counts the masks of `area` in a byte and fails on more under NumPy 2."""


def mask_tools() -> ModuleType:
    """`pycocotools.mask`, imported when the first mask is met.

    Raises:
        DataError: pycocotools is not there or was compiled against another NumPy.
    """
    try:
        from pycocotools import mask
    except (ImportError, ValueError) as error:
        raise DataError(
            f"masks need pycocotools, which cannot be imported here: {error}. Install it anew with "
            "`pip install --force-reinstall --no-cache-dir pycocotools`"
        ) from error
    return mask


@dataclass(frozen=True)
class PackedMasks:
    """n masks as two arrays instead of n Python objects."""

    counts: bytes  # the compressed run lengths of all masks, one after the other
    offsets: NDArray[np.int64]  # (n + 1,): mask i is counts[offsets[i]:offsets[i + 1]]
    sizes: NDArray[np.int32]  # (n, 2) height, width

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Rle:
        start, stop = self.offsets[index : index + 2]
        return {"size": self.sizes[index].tolist(), "counts": self.counts[start:stop]}

    def take(self, indices: NDArray[np.integer]) -> list[Rle]:
        """The masks at `indices`, unpacked."""
        sizes = self.sizes[indices].tolist()
        texts = self._texts(indices)
        return [{"size": size, "counts": text} for size, text in zip(sizes, texts, strict=True)]

    def select(self, indices: NDArray[np.integer]) -> PackedMasks:
        """The masks at `indices`, still packed."""
        return PackedMasks.from_texts(self._texts(indices), self.sizes[indices])

    def _texts(self, indices: NDArray[np.integer]) -> list[bytes]:
        starts, stops = self.offsets[indices].tolist(), self.offsets[indices + 1].tolist()
        counts = self.counts
        return [counts[start:stop] for start, stop in zip(starts, stops, strict=True)]

    @classmethod
    def pack(cls, rles: Sequence[Rle]) -> PackedMasks:
        """Pack compressed masks."""
        sizes = np.array([rle["size"] for rle in rles], dtype=np.int32).reshape(-1, 2)
        return cls.from_texts([_as_bytes(rle["counts"]) for rle in rles], sizes)

    @classmethod
    def from_texts(cls, texts: Sequence[bytes], sizes: NDArray[np.int32]) -> PackedMasks:
        """Pack compressed run lengths and sizes (n, 2)."""
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        return cls(b"".join(texts), np.concatenate([[0], np.cumsum(lengths)]), sizes)

    @classmethod
    def join(cls, parts: Sequence[PackedMasks]) -> PackedMasks:
        """All masks of `parts`, in order."""
        if not parts:
            return cls.pack([])
        shifts = np.cumsum([0, *(len(part.counts) for part in parts)])
        offsets = [part.offsets[:-1] + shift for part, shift in zip(parts, shifts, strict=False)]
        return cls(
            b"".join(part.counts for part in parts),
            np.concatenate([*offsets, shifts[-1:]]).astype(np.int64),
            np.concatenate([part.sizes for part in parts]),
        )


def _as_bytes(counts: str | bytes) -> bytes:
    return counts.encode("ascii") if isinstance(counts, str) else counts


def encode_segmentation(segmentation: object, size: tuple[int, int] | None) -> Rle:
    """Polygons, uncompressed or compressed run lengths -> compressed run lengths.

    Args:
        segmentation: list of polygons [x1, y1, x2, y2, ...], or {"size", "counts"}.
        size: (height, width) of the image; None if not known, which polygons do not allow.

    Raises:
        ValueError: it is none of these, or its size is not the image's.
    """
    if isinstance(segmentation, list) and segmentation:
        return _encode_polygons(segmentation, size)
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= set(segmentation):
        raise ValueError("neither a list of polygons nor {size, counts}")
    height, width = segmentation["size"]
    if size is not None and size != (height, width):
        raise ValueError(
            f"its size is {[height, width]}, its image is {list(size)} (height, width)"
        )
    if isinstance(segmentation["counts"], list):
        return mask_tools().frPyObjects(segmentation, height, width)
    return {"size": [height, width], "counts": _as_bytes(segmentation["counts"])}


def _encode_polygons(polygons: list[list[float]], size: tuple[int, int] | None) -> Rle:
    if size is None or min(size) <= 0:
        raise ValueError("polygons need the height and the width of their image")
    tools = mask_tools()
    try:
        parts = tools.frPyObjects(polygons, *size)
        return tools.merge(parts) if len(parts) > 1 else parts[0]
    except Exception as error:  # pycocotools raises bare Exceptions for what it does not understand
        raise ValueError(f"polygons that cannot be read: {error}") from error


def box_as_polygon(box: Sequence[float]) -> list[list[float]]:
    """The rectangle xywh as a polygon, in the corner order of the `lvis` package."""
    x, y, width, height = box
    return [[x, y, x, y + height, x + width, y + height, x + width, y]]


def mask_areas(masks: PackedMasks) -> NDArray[np.float64]:
    """(n,) areas in pixels."""
    areas = np.zeros(len(masks))
    for block, rles in _blocks(masks):
        areas[block] = mask_tools().area(rles)
    return areas


def mask_boxes(masks: PackedMasks) -> NDArray[np.float64]:
    """(n, 4) tight boxes, xywh."""
    boxes = np.zeros((len(masks), 4))
    for block, rles in _blocks(masks):
        boxes[block] = mask_tools().toBbox(rles)
    return boxes


def _blocks(masks: PackedMasks) -> Iterator[tuple[NDArray[np.int64], list[Rle]]]:
    for start in range(0, len(masks), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(masks)))
        yield block, masks.take(block)
