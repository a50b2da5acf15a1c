"""Random affine maps: rotation, scaling, shear and shift around the middle of the image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dense_lt.data.augment.geometry import Keep, Matrix, warp
from dense_lt.data.transforms import Annotated

KEEP = Keep(visible=0.2, side=2.0, aspect=20.0)
"""What YOLOv5, YOLOX and the YOLOX runs of EFL keep after it."""


@dataclass(frozen=True, slots=True)
class RandomAffine:
    """Rotates, scales, shears and shifts; each amount is uniform between its bounds.

    Attributes:
        degrees: largest rotation to either side.
        translate: largest shift to either side, as a fraction of height and width.
        scale: smallest and largest factor.
        shear: largest shear of each axis to either side, degrees.

    Source: Ge et al. 2021 (YOLOX); the order of the four is that of the published code.
    """

    degrees: float = 10.0
    translate: float = 0.1
    scale: tuple[float, float] = (0.1, 2.0)
    shear: float = 2.0

    def matrix(
        self, before: tuple[int, int], after: tuple[int, int], rng: np.random.Generator
    ) -> Matrix:
        """From an image of size `before` (height, width) to one of size `after`."""
        angle = math.radians(rng.uniform(-self.degrees, self.degrees))
        scale = rng.uniform(*self.scale)
        shear_x, shear_y = np.tan(np.radians(rng.uniform(-self.shear, self.shear, 2)))
        shift_y, shift_x = rng.uniform(-self.translate, self.translate, 2)
        cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
        turn = np.array([[cosine, sine], [-sine, cosine]])
        linear = np.array([[1.0, shear_x], [shear_y, 1.0]]) @ turn
        old_centre = np.array([before[1], before[0]]) / 2
        new_centre = np.array([(0.5 + shift_x) * after[1], (0.5 + shift_y) * after[0]])
        return np.column_stack([linear, new_centre - linear @ old_centre])

    def __call__(
        self, sample: Annotated, size: tuple[int, int], rng: np.random.Generator, *, fill: int
    ) -> Annotated:
        """`sample` in a new image of `size` (height, width), around the middle of the old one."""
        return warp(
            sample, self.matrix(sample.image.shape[:2], size, rng), size, fill=fill, keep=KEEP
        )


STILL = RandomAffine(degrees=0.0, translate=0.0, scale=(1.0, 1.0), shear=0.0)
"""Cuts out the middle."""
