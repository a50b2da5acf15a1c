"""Run-length encoded masks, many at once: packed in two arrays instead of one object each."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.run_lengths import problem_of_runs, sums_of_runs
from dense_lt.utils.errors import DataError

Rle = dict[str, Any]
"""pycocotools' form: {"size": [height, width], "counts": bytes}."""


BLOCK = 255
"""pycocotools 2.0.11 counts the masks of `area` in a byte and fails on more under NumPy 2."""


@cache
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
    """n masks as four columns instead of n Python objects; a selection shares the text."""

    text: bytes
    """Compressed run lengths."""
    starts: NDArray[np.int64]  # (n,): mask i is text[starts[i]:stops[i]]
    stops: NDArray[np.int64]  # (n,)
    sizes: NDArray[np.int32]  # (n, 2) height, width

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Rle:
        return self.take(np.array([index]))[0]

    def take(self, indices: NDArray[np.integer]) -> list[Rle]:
        """The masks at `indices`, unpacked."""
        starts, stops = self.starts[indices].tolist(), self.stops[indices].tolist()
        columns = zip(self.sizes[indices].tolist(), starts, stops, strict=True)
        return [{"size": size, "counts": self.text[start:stop]} for size, start, stop in columns]

    def select(self, indices: NDArray[np.integer]) -> PackedMasks:
        """The masks at `indices`, still packed."""
        return PackedMasks(
            self.text, self.starts[indices], self.stops[indices], self.sizes[indices]
        )

    def filled_pixels(self) -> NDArray[np.int64]:
        """(n,) sums of the runs, -1 for what is none; the masks must stand end to end."""
        return sums_of_runs(self.text, self.starts, self.stops)

    def compact(self) -> PackedMasks:
        """The same masks, one after the other in a text that holds nothing else."""
        spans = zip(self.starts.tolist(), self.stops.tolist(), strict=True)
        return PackedMasks.from_text(
            b"".join([self.text[start:stop] for start, stop in spans]),
            self.stops - self.starts,
            self.sizes,
        )

    @classmethod
    def pack(cls, rles: Sequence[Rle]) -> PackedMasks:
        """Pack compressed masks."""
        texts = [_as_bytes(rle["counts"]) for rle in rles]
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        sizes = np.array([rle["size"] for rle in rles], dtype=np.int32).reshape(-1, 2)
        return cls.from_text(b"".join(texts), lengths, sizes)

    @classmethod
    def from_text(
        cls, text: bytes, lengths: NDArray[np.int64], sizes: NDArray[np.int32]
    ) -> PackedMasks:
        """Masks that stand one after the other in `text`, of `lengths` (n,) and `sizes` (n, 2)."""
        stops = np.cumsum(lengths)
        return cls(text, stops - lengths, stops, sizes)

    @classmethod
    def join(cls, parts: Sequence[PackedMasks]) -> PackedMasks:
        """All masks of `parts`, in order."""
        if not parts:
            return cls.pack([])
        shifts = np.cumsum([0, *(len(part.text) for part in parts[:-1])])
        return cls(
            b"".join(part.text for part in parts),
            np.concatenate([own.starts + shift for own, shift in zip(parts, shifts, strict=True)]),
            np.concatenate([own.stops + shift for own, shift in zip(parts, shifts, strict=True)]),
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
        ValueError: it is none of these, its size is not the image's, or its runs do not fill it.
    """
    if isinstance(segmentation, list) and segmentation:
        return _encode_polygons(segmentation, size)
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= set(segmentation):
        raise ValueError("neither a list of polygons nor {size, counts}")
    height, width = _sides(segmentation["size"])
    if size is not None and size != (height, width):
        raise ValueError(
            f"its size is {[height, width]}, its image is {list(size)} (height, width)"
        )
    problem = problem_of_runs(segmentation["counts"], height, width)
    if problem:
        raise ValueError(problem)
    if isinstance(segmentation["counts"], list):
        return mask_tools().frPyObjects(segmentation, height, width)
    return {"size": [height, width], "counts": _as_bytes(segmentation["counts"])}


def _sides(size: object) -> tuple[int, int]:
    match size:
        case [int(height), int(width)] if height > 0 and width > 0:
            return height, width
    raise ValueError(f"its size is {size!r}; [height, width] in pixels is needed")


def _encode_polygons(polygons: list[list[float]], size: tuple[int, int] | None) -> Rle:
    if size is None or min(size) <= 0:
        raise ValueError("polygons need the height and the width of their image")
    tools = mask_tools()
    try:
        parts = tools.frPyObjects(polygons, *size)
        return tools.merge(parts) if len(parts) > 1 else parts[0]
    except Exception as error:  # pycocotools raises bare Exceptions for what it does not understand
        raise ValueError(f"polygons that cannot be read: {error}") from error


def decode_mask(mask: Rle) -> NDArray[np.uint8]:
    """(H, W) pixels, 1 where the mask is.

    Raises:
        DataError: the runs do not fill the image: pycocotools would show what was in memory.
    """
    problem = problem_of_runs(mask["counts"], *mask["size"])
    if problem:
        raise DataError(f"a mask of {mask['size']} (height, width): {problem}")
    with warnings.catch_warnings():  # pycocotools 2.0.11 lacks a keyword that NumPy 2 asks for
        warnings.simplefilter("ignore", DeprecationWarning)
        return mask_tools().decode(mask)


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
