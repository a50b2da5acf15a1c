"""Masks and textures of the drawn objects.

Everything is made by additions, multiplications, floors and comparisons, which every machine rounds
alike; rotations come from a table whose sines are rounded to 16 bits. So are the bytes the same
everywhere. Every shape is its own mirror image: flips and transposition do not change a class.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

NUM_DIRECTIONS = 720
SAMPLES = 4
"""Points tested along each side of a pixel."""

REACH = 1.17
"""No shape reaches further from its centre, in radii."""

TEXTURE_PERIOD = 7.0
"""Pixels."""

Points = np.ndarray
"""(N, N) float32 coordinates in radii; y points down."""


def direction(number: int) -> tuple[float, float]:
    """(cosine, sine) of `number` / NUM_DIRECTIONS turns, rounded to 16 bits."""
    angle = 2 * math.pi * (number % NUM_DIRECTIONS) / NUM_DIRECTIONS
    return round(math.cos(angle) * 65536) / 65536, round(math.sin(angle) * 65536) / 65536


def _disc(x: Points, y: Points, radius: float, x0: float = 0.0, y0: float = 0.0) -> np.ndarray:
    return (x - x0) * (x - x0) + (y - y0) * (y - y0) <= radius * radius


def _box(x: Points, y: Points, half_width: float, half_height: float) -> np.ndarray:
    return (np.abs(x) <= half_width) & (np.abs(y) <= half_height)


def _triangle(x: Points, y: Points) -> np.ndarray:
    # equilateral, a corner on top; its sides are 1/2 away from the centre
    return (y <= 0.5) & (0.8660254 * np.abs(x) - 0.5 * y <= 0.5)


def _star(x: Points, y: Points) -> np.ndarray:
    # folded along its five axes into one half of one point, which one edge bounds
    x, y = np.abs(x), -y
    for axis_x, axis_y in ((0.80901699, -0.58778525), (-0.80901699, -0.58778525)):
        beyond = np.maximum(axis_x * x + axis_y * y, 0)
        x, y = x - 2 * axis_x * beyond, y - 2 * axis_y * beyond
    x = np.abs(x)
    # from the tip (0, 1) to the inner corner at radius 0.42, 36 degrees further: (0.2469, 0.3398)
    return 0.66021 * x + 0.24687 * (y - 1) <= 0


def _heart(x: Points, y: Points) -> np.ndarray:
    # a square on its corner with half a disc on each upper side
    square = np.abs(x) + np.abs(y + 0.05) <= 0.8
    return square | _disc(np.abs(x), y, 0.5657, 0.4, -0.45)


def _arrow(x: Points, y: Points) -> np.ndarray:
    head = (x >= 0.1) & (np.abs(y) <= (1 - x) * 0.88889)
    shaft = (x >= -1) & (x <= 0.1) & (np.abs(y) <= 0.3)
    return head | shaft


SHAPES: dict[str, Callable[[Points, Points], np.ndarray]] = {
    "circle": lambda x, y: _disc(x, y, 1.0),
    "square": lambda x, y: _box(x, y, 0.8, 0.8),
    "triangle": _triangle,
    "star": _star,
    "plus": lambda x, y: _box(x, y, 0.3, 1.0) | _box(x, y, 1.0, 0.3),
    "ring": lambda x, y: _disc(x, y, 1.0) & ~_disc(x, y, 0.55),
    "crescent": lambda x, y: _disc(x, y, 1.0) & ~_disc(x, y, 0.8, 0.75),
    "heart": _heart,
    "arrow": _arrow,
    "bar": lambda x, y: _box(x, y, 1.0, 0.35),
}
TEXTURES = ("solid", "stripes", "dots")
COLORS = {
    "red": (220, 50, 40),
    "green": (50, 180, 60),
    "blue": (50, 80, 220),
    "yellow": (225, 205, 50),
    "white": (230, 230, 230),
}


def shape_coverage(shape: str, diameter: float, turned: tuple[float, float]) -> np.ndarray:
    """How much of every pixel a shape covers.

    Args:
        shape: a key of SHAPES.
        diameter: of the circle the shape is fitted to, pixels.
        turned: (cosine, sine) of the rotation.

    Returns:
        (h, w) float32 in [0, 1], cut to the pixels that are covered by more than half.
    """
    radius = diameter / 2
    pixels = math.ceil(2 * REACH * radius) + 2
    axis = (np.arange(pixels * SAMPLES, dtype=np.float32) + 0.5) / SAMPLES - pixels / 2
    axis = (axis / np.float32(radius)).astype(np.float32)
    cosine, sine = np.float32(turned[0]), np.float32(turned[1])
    x = axis[None, :] * cosine + axis[:, None] * sine
    y = axis[:, None] * cosine - axis[None, :] * sine
    inside = SHAPES[shape](x, y).reshape(pixels, SAMPLES, pixels, SAMPLES)
    coverage = inside.sum(axis=(1, 3), dtype=np.int32).astype(np.float32) / SAMPLES**2
    rows = np.flatnonzero((coverage > 0.5).any(axis=1))
    columns = np.flatnonzero((coverage > 0.5).any(axis=0))
    return coverage[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def texture_shade(
    texture: str, size: tuple[int, int], turned: tuple[float, float], phase: float
) -> np.ndarray:
    """How dark the texture is at every pixel: (h, w) float32, 0 plain to 1 dark.

    Args:
        texture: one of TEXTURES.
        size: (h, w) pixels.
        turned: (cosine, sine) of the rotation.
        phase: where the pattern starts, in periods.
    """
    if texture == "solid":
        return np.zeros(size, dtype=np.float32)
    height, width = size
    y, x = np.arange(height + 2.0)[:, None] - 1, np.arange(width + 2.0)[None, :] - 1
    u = (x * turned[0] + y * turned[1]) / TEXTURE_PERIOD + phase
    v = (y * turned[0] - x * turned[1]) / TEXTURE_PERIOD
    dark = u - np.floor(u) < 0.5 if texture == "stripes" else _bump(u) * _bump(v) > 0.3
    dark = dark.astype(np.float32)
    dark = 0.25 * dark[:-2] + 0.5 * dark[1:-1] + 0.25 * dark[2:]
    return 0.25 * dark[:, :-2] + 0.5 * dark[:, 1:-1] + 0.25 * dark[:, 2:]


def _bump(turns: np.ndarray) -> np.ndarray:
    """A parabola in place of |sin(2 pi turns)|, which it leaves by 0.06 at most."""
    half = 2 * turns - np.floor(2 * turns)
    return 4 * half * (1 - half)
