"""Which classes exist, how often each occurs, and which of them meet in an image."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dense_lt.data.drawn.randomness import RandomStream
from dense_lt.data.drawn.render import DrawnClass
from dense_lt.data.drawn.shapes import COLORS, SHAPES, TEXTURES
from dense_lt.utils.errors import ConfigError

SINGLE = 0.7
"""Probability that a class has one object and not two in an image it is in."""

UNEVENNESS = 2.5
"""How far images may differ in their number of objects; 0 fills them evenly."""


class Span(NamedTuple):
    """Image counts of a frequency group, falling geometrically from `first` to `last`."""

    classes: int
    first: int
    last: int

    def counts(self) -> list[int]:
        """One image count per class, most frequent class first."""
        steps = max(self.classes - 1, 1)
        ratio = self.last / self.first
        return [round(self.first * ratio ** (step / steps)) for step in range(self.classes)]


def choose_classes(num_frequent: int, num_others: int, stream: RandomStream) -> list[DrawnClass]:
    """The frequent classes, then the others.

    Every other class differs from a frequent one in just its colour or just its texture. So it has
    a frequent look-alike that suppresses it, and features that can be learnt from frequent classes:
    without them nothing could be learnt of a class with one to six images.

    Raises:
        ConfigError: the frequent classes have too few neighbours.
    """
    shapes = [list(SHAPES)[i] for i in stream.permutation(len(SHAPES))]
    frequent: list[DrawnClass] = []
    while len(frequent) < num_frequent:
        shape = shapes[len(frequent) % len(shapes)]
        free = [
            kind
            for color in COLORS
            for texture in TEXTURES
            if (kind := DrawnClass(shape, color, texture)) not in frequent
        ]
        if not free:
            raise ConfigError(f"drawn data: {num_frequent} frequent classes; there are 150 at most")
        frequent.append(free[stream.integer(len(free))])
    others = _choose_neighbours(frequent, num_others, stream)
    return frequent + [others[i] for i in stream.permutation(len(others))]


def _choose_neighbours(
    frequent: Sequence[DrawnClass], count: int, stream: RandomStream
) -> list[DrawnClass]:
    chosen: list[DrawnClass] = []
    taken = set(frequent)
    exhausted = 0
    for turn in itertools.count():
        if len(chosen) == count:
            return chosen
        if exhausted == len(frequent):
            raise ConfigError(
                f"drawn data: {count} common and rare classes, but {len(frequent)} frequent ones "
                f"have only {len(chosen)} neighbours in colour or texture; ask for fewer of the "
                "former or more of the latter"
            )
        lap, place = divmod(turn, len(frequent))
        near = frequent[place]
        by_color = [near._replace(color=color) for color in COLORS]
        by_texture = [near._replace(texture=texture) for texture in TEXTURES]
        kinds = (by_color, by_texture) if (lap + place) % 2 == 0 else (by_texture, by_color)
        free = next(filter(None, ([k for k in kind if k not in taken] for kind in kinds)), [])
        exhausted = 0 if free else exhausted + 1
        if free:
            chosen.append(free[stream.integer(len(free))])
            taken.add(chosen[-1])
    raise AssertionError("an endless loop has ended")


def spread_over_images(
    image_counts: Sequence[int], num_images: int, stream: RandomStream
) -> list[list[int]]:
    """Labels of the objects of every image: label c is in exactly `image_counts[c]` of them.

    Emptier images are preferred; an image may stay empty.
    """
    images: list[list[int]] = [[] for _ in range(num_images)]
    for label, count in enumerate(image_counts):
        fullness = np.array([len(image) for image in images], dtype=np.float64)
        order = np.argsort(fullness + stream.uniform(0, UNEVENNESS, num_images), kind="stable")
        pairs = stream.uniform(count=count) >= SINGLE
        for index, pair in zip(order[:count].tolist(), pairs.tolist(), strict=True):
            images[index] += [label, label] if pair else [label]
    return [[image[i] for i in stream.permutation(len(image))] for image in images]
