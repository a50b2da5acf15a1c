"""Between pictures of masks and rings of corners, without loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def fill(rings: Sequence[np.ndarray], bitmap: np.ndarray) -> None:
    """Set the pixels of `bitmap` (H, W) whose centre the rings wind around.

    Each row keeps where edges cross the line through its pixels' centres, +1 downwards and -1
    upwards; summed from the left that is the winding number. An edge owns its upper end and a
    centre that lies on an edge belongs to its right side, so that neighbours share no pixel.

    Args:
        rings: closed, each (n, 2) x and y.
        bitmap: changed in place.
    """
    starts = [np.asarray(ring, dtype=np.float64) for ring in rings if len(ring)]
    if not starts:
        return
    here = np.concatenate(starts)
    after = np.concatenate([np.roll(ring, -1, axis=0) for ring in starts])
    height, width = bitmap.shape
    # rows whose centre lies between the ends, in [first, last)
    ends = np.ceil(np.stack([here[:, 1], after[:, 1]]) - 0.5).clip(0, height).astype(np.int64)
    first, last = ends.min(axis=0), ends.max(axis=0)
    crossing = np.flatnonzero(last > first)
    if not len(crossing):
        return
    counts = (last - first)[crossing]
    edge = np.repeat(crossing, counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    slope = (after[edge, 0] - here[edge, 0]) / (after[edge, 1] - here[edge, 1])
    x = here[edge, 0] + slope * (row + 0.5 - here[edge, 1])
    column = np.ceil(x - 0.5).clip(0, width).astype(np.int64)
    direction = np.where(ends[1, edge] > ends[0, edge], 1, -1)
    top, left = int(row.min()), int(column.min())
    shape = (int(row.max()) + 1 - top, int(column.max()) + 1 - left)
    place = (row - top) * shape[1] + (column - left)
    winding = np.bincount(place, weights=direction, minlength=shape[0] * shape[1])
    inside = winding.reshape(shape).cumsum(axis=1)[:, :-1] != 0  # right of the last edge is nothing
    bitmap[top : top + shape[0], left : left + shape[1] - 1][inside] = 1


def trace(bitmap: np.ndarray) -> list[np.ndarray]:
    """Rings along the edges of the set pixels of `bitmap` (H, W), each (n, 2) float32.

    Outer rings run clockwise on the screen, holes the other way, so `fill` gives `bitmap` back.

    Corners are where an odd number of the four pixels around is set, and, twice, where two set
    pixels touch only there. Along every line of the grid corners pair up into edges.
    """
    set_pixels = np.pad(np.asarray(bitmap) != 0, 1)
    above_left, above_right = set_pixels[:-1, :-1], set_pixels[:-1, 1:]
    below_left, below_right = set_pixels[1:, :-1], set_pixels[1:, 1:]
    odd = above_left ^ above_right ^ below_left ^ below_right
    touching = (above_left == below_right) & (above_right == below_left) & (above_left ^ below_left)
    y, x = np.nonzero(odd | touching)
    if not len(y):
        return []
    copies = np.repeat(np.arange(len(y)), 1 + touching[y, x])
    x, y = x[copies], y[copies]  # row by row: corners 2k and 2k + 1 are the ends of a level edge
    level = np.arange(len(x)) ^ 1
    by_column = np.lexsort((y, x))
    upright = np.empty_like(level)
    upright[by_column] = by_column[np.arange(len(x)) ^ 1]
    # with the inside below it, an edge runs to the right: it leaves its left corner
    left = np.arange(0, len(x), 2)
    leaves = np.where(below_right[y[left], x[left]], left, left + 1)
    after = np.full(len(x), -1)
    after[leaves] = upright[level[leaves]]
    points = np.stack([x, y], axis=1).astype(np.float32)
    return [
        points[np.stack([ring, level[ring]], axis=1).reshape(-1)] for ring in _cycles(leaves, after)
    ]


def _cycles(starts: np.ndarray, after: np.ndarray) -> list[np.ndarray]:
    """Every cycle of `after` through `starts`."""
    following = after.tolist()
    cycles = []
    for start in starts.tolist():
        cycle = []
        while (next_one := following[start]) >= 0:
            cycle.append(start)
            following[start] = -1
            start = next_one
        if cycle:
            cycles.append(np.array(cycle))
    return cycles
