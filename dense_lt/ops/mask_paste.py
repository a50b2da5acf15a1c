"""Predicted masks back into the image, one at a time, as runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Runs = NDArray[np.int64]
"""Lengths of runs of 0, 1, 0, ... in column-major order (COCO's uncompressed RLE)."""

MASKS_AT_ONCE = 64  # bounds the weights of large boxes: 64 x 1333 pixels x 28 cells take 10 MB


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
    runs = []
    for start in range(0, len(masks), MASKS_AT_ONCE):
        part = slice(start, start + MASKS_AT_ONCE)
        some, corners = masks[part].astype(np.float32), boxes[part].astype(np.float64)
        rows = _weights(corners[:, 1], corners[:, 3], masks.shape[1], size[0])
        columns = _weights(corners[:, 0], corners[:, 2], masks.shape[2], size[1])
        for mask, (y, down), (x, across) in zip(some, rows, columns, strict=True):
            runs.append(_runs(down @ mask @ across.T >= threshold, y, x, size))
    return runs


def _weights(
    low: NDArray[np.float64], high: NDArray[np.float64], cells: int, length: int
) -> list[tuple[int, NDArray[np.float32]]]:
    """Of each box: first pixel that cells from `low` to `high` reach, weights (pixels, cells)."""
    side = np.maximum(high - low, 1e-6)
    reach = side / cells / 2  # interpolation goes on to half a cell outside
    first = np.clip(np.floor(low - reach), 0, length).astype(np.int64)
    last = np.clip(np.ceil(high + reach), first, length).astype(np.int64)
    counts = last - first
    box = np.repeat(np.arange(len(low)), counts)  # of each pixel of all boxes, one after the other
    pixel = np.arange(len(box)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    place = (pixel + 0.5 - low[box]) / side[box] * cells - 0.5  # in cells
    left = np.floor(place)
    share = (place - left).astype(np.float32)
    cell = left.astype(np.int64) + 1
    weights = np.zeros((len(box), cells + 2), np.float32)  # one cell of zeros on either side
    entries = np.arange(len(box))
    weights[entries, np.clip(cell, 0, cells + 1)] = 1 - share
    weights[entries, np.clip(cell + 1, 0, cells + 1)] += share
    own = np.split(weights[:, 1:-1], np.cumsum(counts)[:-1])
    return list(zip(first.tolist(), own, strict=True))


def _runs(part: NDArray[np.bool_], y: int, x: int, size: tuple[int, int]) -> Runs:
    """Runs over an image of which only `part`, from row y and column x on, can be set."""
    height, width = size
    rows = part.shape[0] + 1
    columns = np.zeros((part.shape[1], rows), bool)  # a row of zeros parts column from column
    columns[:, :-1] = part.T
    values = np.concatenate([[False], columns.ravel()])
    column, row = np.divmod(np.flatnonzero(values[1:] != values[:-1]), rows)
    begin, end = ((column + x) * height + row + y).reshape(-1, 2).T
    apart = np.ones(len(begin) + 1, bool)
    apart[1:-1] = begin[1:] != end[:-1]  # a run may go on at the top of the next column
    edges = np.stack([begin[apart[:-1]], end[apart[1:]]], axis=1).ravel()
    runs = np.diff(np.concatenate([[0], edges, [height * width]]))
    return runs[:-1] if len(runs) > 1 and runs[-1] == 0 else runs
