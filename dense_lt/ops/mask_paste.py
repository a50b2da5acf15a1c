"""Predicted masks back into the image, one at a time, as runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Runs = NDArray[np.int64]
"""Lengths of runs of 0, 1, 0, ... in column-major order (COCO's uncompressed RLE)."""


def paste_as_runs(
    masks: NDArray[np.floating],
    boxes: NDArray[np.floating],
    size: tuple[int, int],
    *,
    threshold: float = 0.5,
) -> list[Runs]:
    """Masks inside boxes -> runs over the whole image; only the part below a box is ever made.

    A pixel is set where the mask, interpolated bilinearly at the pixel's centre and 0 outside,
    reaches the threshold: what detectron2 (Wu et al. 2019) makes by `grid_sample` over the image.

    Args:
        masks: (D, S, S) probabilities in the cells of each box.
        boxes: (D, 4) xyxy, pixels of the image; they may reach out of it.
        size: (height, width) of the image.
        threshold: lowest probability that counts.

    Returns:
        D runs whose sum is height x width.
    """
    return [
        _runs(*_paste(mask, box, size, threshold), size)
        for mask, box in zip(masks, boxes, strict=True)
    ]


def _paste(
    mask: NDArray[np.floating],
    box: NDArray[np.floating],
    size: tuple[int, int],
    threshold: float,
) -> tuple[NDArray[np.bool_], int, int]:
    """The part of the image that the mask can reach, with the place of its first row and column."""
    (y, rows), (x, columns) = (
        _weights(float(low), float(high), cells, length)
        for low, high, cells, length in zip(box[[1, 0]], box[[3, 2]], mask.shape, size, strict=True)
    )
    return rows @ mask.astype(np.float32) @ columns.T >= threshold, y, x


def _weights(low: float, high: float, cells: int, length: int) -> tuple[int, NDArray[np.float32]]:
    """First pixel that cells between `low` and `high` reach, and weights (pixels, cells)."""
    side = max(high - low, 1e-6)
    reach = side / cells / 2  # interpolation goes on to half a cell outside
    first = int(np.clip(np.floor(low - reach), 0, length))
    last = int(np.clip(np.ceil(high + reach), first, length))
    place = (np.arange(first, last) + 0.5 - low) / side * cells - 0.5  # in cells
    left = np.floor(place).astype(np.int64)
    share = (place - left).astype(np.float32)
    weights = np.zeros((last - first, cells + 2), np.float32)  # one cell of zeros on either side
    pixels = np.arange(last - first)
    weights[pixels, np.clip(left + 1, 0, cells + 1)] = 1 - share
    weights[pixels, np.clip(left + 2, 0, cells + 1)] += share
    return first, weights[:, 1:-1]


def _runs(part: NDArray[np.bool_], y: int, x: int, size: tuple[int, int]) -> Runs:
    """Runs over an image of which only `part`, from row y and column x on, can be set."""
    height, width = size
    columns = np.zeros((part.shape[1], part.shape[0] + 2), np.int8)
    columns[:, 1:-1] = part.T
    steps = np.diff(columns, axis=1)  # (columns, rows + 1): 1 where a run begins, -1 after its end
    bounds = []
    for sign in (1, -1):
        column, row = np.nonzero(steps == sign)
        bounds.append((column + x) * height + row + y)
    begin, end = bounds
    apart = np.ones(len(begin) + 1, bool)
    apart[1:-1] = begin[1:] != end[:-1]  # a run may go on at the top of the next column
    edges = np.stack([begin[apart[:-1]], end[apart[1:]]], axis=1).ravel()
    runs = np.diff(np.concatenate([[0], edges, [height * width]]))
    return runs[:-1] if len(runs) > 1 and runs[-1] == 0 else runs
