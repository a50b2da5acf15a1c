"""How evenly do the objects of a class fill their images? Fractal dimension by counting boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GRIDS = 64
"""Grids of 1 x 1 to 64 x 64 cells are laid over the images."""

FEWEST = 4
"""Objects below which a class counts as a line: dimension 1."""


def fractal_dimensions(
    labels: NDArray[np.integer], centers: NDArray[np.floating], num_classes: int
) -> NDArray[np.float64]:
    """Growth of the number of cells that hold a class as the cells become smaller.

    The slope of log(cells with an object) over log(cells along a side), by least squares over the
    grids that have no more cells than the class has objects; never below 1. Objects spread over the
    whole image come near 2, those along a line (a sky line, say) near 1.

    Args:
        labels: (M,) in [0, num_classes).
        centers: (M, 2) x, y of the objects, as fractions of their image.
        num_classes: C.

    Returns:
        (C,) in [1, 2], but for noise.

    Source: Alexandridis et al. 2025 (FRACAL), section 3, and the published code for the bounds.
    """
    counts = np.bincount(labels, minlength=num_classes)
    sides = np.arange(1, GRIDS + 1)
    filled = np.stack(
        [_filled_cells(labels, centers, num_classes, side) for side in sides.tolist()]
    )
    x, y = np.log(sides)[:, None], np.log(np.maximum(filled, 1))  # (S, 1), (S, C)
    used = sides[:, None] ** 2 <= counts
    total = np.maximum(used.sum(axis=0), 1)
    off_mean = np.where(used, x - (used * x).sum(axis=0) / total, 0.0)
    variance = (off_mean**2).sum(axis=0)
    slope = (off_mean * y).sum(axis=0) / np.where(variance > 0, variance, 1.0)
    return np.where(counts < FEWEST, 1.0, np.maximum(slope, 1.0))


def _filled_cells(
    labels: NDArray[np.integer], centers: NDArray[np.floating], num_classes: int, side: int
) -> NDArray[np.int64]:
    """(C,) cells of a `side` x `side` grid in which an object of the class has its centre."""
    cell = np.clip((centers * side).astype(np.int64), 0, side - 1)
    table = np.zeros((num_classes, side * side), bool)
    table[labels, cell[:, 1] * side + cell[:, 0]] = True
    return table.sum(axis=1)
