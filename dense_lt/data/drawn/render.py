"""One drawn image: a smooth background, clutter, objects that hardly overlap, blur and noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dense_lt.data.drawn.randomness import RandomStream
from dense_lt.data.drawn.shapes import (
    COLORS,
    NUM_DIRECTIONS,
    direction,
    shape_coverage,
    texture_shade,
)

MAX_OVERLAP = 0.1
"""Largest part of a new object that may lie on older ones."""

TRIES = 20
"""Sizes and places tried for an object before it is left out, or made small."""

DARKENING = 0.70
"""What a texture takes from the colour."""

BLUR = (0.1664, 0.6672, 0.1664)
"""Gaussian of standard deviation 0.6 pixels."""


class DrawnClass(NamedTuple):
    """A class is one combination of three attributes."""

    shape: str
    color: str
    texture: str

    @property
    def name(self) -> str:
        """Such as `red_striped_star`."""
        adjective = {"solid": "", "stripes": "striped_", "dots": "dotted_"}[self.texture]
        return f"{self.color}_{adjective}{self.shape}"


class DrawnObject(NamedTuple):
    """One object that is in an image."""

    label: int
    mask: np.ndarray  # (H, W) bool, what is visible of it


def render(
    labels: Sequence[int],
    classes: Sequence[DrawnClass],
    *,
    side: int,
    diameters: tuple[float, float],
    stream: RandomStream,
) -> tuple[np.ndarray, list[DrawnObject]]:
    """Draw one image.

    Args:
        labels: class of every object, in the order of drawing; later ones lie on top. The first
            object of a class is always drawn; a further one is left out where there is no room.
        classes: the attributes of every label.
        side: of the square image, pixels.
        diameters: smallest and largest diameter of an object, pixels.
        stream: the image's own random numbers.

    Returns:
        (side, side, 3) uint8 RGB, and the objects that are in it.
    """
    canvas = _background(side, stream)
    occupied = np.zeros((side, side), dtype=bool)
    objects: list[DrawnObject] = []
    for label in labels:
        needed = all(drawn.label != label for drawn in objects)
        placed = _place(classes[label], occupied, diameters, stream, needed=needed)
        if placed is None:
            continue
        coverage, window, turned = placed
        mask = np.zeros_like(occupied)
        mask[window] = coverage > 0.5
        occupied |= mask
        _paint(canvas[window], coverage, classes[label], turned, stream)
        objects = [DrawnObject(drawn.label, drawn.mask & ~mask) for drawn in objects]
        objects.append(DrawnObject(label, mask))
    canvas = _blur(_blur(canvas).transpose(1, 0, 2)).transpose(1, 0, 2)
    canvas = canvas + stream.normal(4, side * side * 3).reshape(side, side, 3)
    visible = [drawn for drawn in objects if drawn.mask.any()]
    return np.clip(canvas, 0, 255).astype(np.uint8), visible


def _background(side: int, stream: RandomStream) -> np.ndarray:
    """A 4x4 grid of greyish colours, enlarged smoothly; grain; a few thin lines."""
    grid = stream.uniform(50, 130, 16).reshape(4, 4, 1)
    grid = grid + stream.uniform(-15, 15, 48).reshape(4, 4, 3)
    canvas = _enlarge(_enlarge(grid, side).transpose(1, 0, 2), side).transpose(1, 0, 2)
    canvas = canvas + stream.normal(5, side * side).reshape(side, side, 1)
    for _ in range(2 + stream.integer(4)):
        ends = np.floor(stream.uniform(0, side, 4))
        color = stream.uniform(30, 220, 3)
        canvas[_near_segment(ends, 0.5 + 0.75 * stream.integer(2), side)] = color
    return canvas


def _enlarge(grid: np.ndarray, side: int) -> np.ndarray:
    """Stretch the first axis of `grid` (4, ...) to `side` by cubic convolution, edges repeated."""
    position = (np.arange(side) + 0.5) * (4 / side) - 0.5
    start = np.floor(position).astype(np.int64)
    t = position - start
    weights = (
        -0.75 * t * (1 - t) * (1 - t),
        1 - t * t * (2.25 - 1.25 * t),
        t * (0.75 + t * (1.5 - 1.25 * t)),
        -0.75 * t * t * (1 - t),
    )
    shape = (side,) + (1,) * (grid.ndim - 1)
    result = np.zeros((side, *grid.shape[1:]))
    for offset, weight in enumerate(weights):
        result += weight.reshape(shape) * grid[np.clip(start + offset - 1, 0, 3)]
    return result


def _near_segment(ends: np.ndarray, distance: float, side: int) -> np.ndarray:
    """Pixels within `distance` of the segment (x1, y1, x2, y2): (side, side) bool."""
    x1, y1, x2, y2 = (float(end) for end in ends)
    x, y = np.arange(side)[None, :] - x1, np.arange(side)[:, None] - y1
    across, down = x2 - x1, y2 - y1
    along = np.clip((x * across + y * down) / max(across * across + down * down, 1.0), 0, 1)
    x, y = x - along * across, y - along * down
    return x * x + y * y <= distance * distance


def _place(
    kind: DrawnClass,
    occupied: np.ndarray,
    diameters: tuple[float, float],
    stream: RandomStream,
    *,
    needed: bool,
) -> tuple[np.ndarray, tuple[slice, slice], tuple[float, float]] | None:
    """Find a size, a rotation and a place for an object.

    Returns:
        Coverage (h, w), the window of the image it falls on, and the rotation; None where no try
        fitted, which cannot be when the object is `needed`: then it is made small, and at last may
        overlap.
    """
    side = len(occupied)
    sizes = diameter_table(*diameters)
    attempt = 0
    while needed or attempt < TRIES:
        size = stream.integer(len(sizes)) if attempt < TRIES else 0
        turned = direction(stream.integer(NUM_DIRECTIONS))
        coverage = shape_coverage(kind.shape, sizes[size], turned)
        height, width = coverage.shape
        top, left = stream.integer(side - height), stream.integer(side - width)
        window = slice(top, top + height), slice(left, left + width)
        mask = coverage > 0.5
        overlap = int((occupied[window] & mask).sum()) / int(mask.sum())
        if overlap < MAX_OVERLAP * max(1, attempt // (5 * TRIES)):
            return coverage, window, turned
        attempt += 1
    return None


def diameter_table(smallest: float, largest: float) -> list[float]:
    """Log-uniform diameters as a table in steps of 1/64 pixel: no machine rounds it otherwise."""
    steps = 255
    ratio = largest / smallest
    return [round(smallest * ratio ** (step / steps) * 64) / 64 for step in range(steps + 1)]


def _paint(
    canvas: np.ndarray,
    coverage: np.ndarray,
    kind: DrawnClass,
    turned: tuple[float, float],
    stream: RandomStream,
) -> None:
    """Blend an object into its window of the image, in place."""
    brightness = stream.uniform(0.75, 1.1)
    color = np.clip(np.array(COLORS[kind.color]) * brightness + stream.normal(14, 3), 0, 255)
    # up to 0.3 radians beside the object's own rotation
    tilt = direction(stream.integer(69) - 34)
    turned = (
        turned[0] * tilt[0] - turned[1] * tilt[1],
        turned[1] * tilt[0] + turned[0] * tilt[1],
    )
    phase = float(stream.uniform()[0])
    shade = texture_shade(kind.texture, coverage.shape, turned, phase)
    pixels = color * (1 - DARKENING * shade[..., None])
    canvas += (pixels - canvas) * coverage[..., None]


def _blur(canvas: np.ndarray) -> np.ndarray:
    """Blur along the first axis; the edge mirrors its neighbours."""
    padded = np.concatenate([canvas[1:2], canvas, canvas[-2:-1]])
    return BLUR[0] * padded[:-2] + BLUR[1] * padded[1:-1] + BLUR[2] * padded[2:]
