"""Two images seen through each other."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dense_lt.data.augment.geometry import Keep, join, place
from dense_lt.data.transforms import Annotated, fit_inside, flip_horizontally, resize
from dense_lt.ops.matching import IGNORE

KEEP = Keep(visible=0.2, side=5.0, aspect=20.0)
"""What the YOLOX runs of EFL keep of the other image's objects."""


@dataclass(frozen=True, slots=True)
class Mixup:
    """Blends another image in at half strength; the objects of both are learnt.

    The other image is fitted into this one's size and padded to it, scaled by a random factor, and
    where it is larger a random part of it is taken. If none of its objects would be seen, the image
    stays as it is: a ghost without objects would only be noise.

    Attributes:
        scale: smallest and largest factor.
        flip: probability of exchanging left and right in the other image.

    Source: Zhang et al. 2018 (mixup), in the form of Ge et al. 2021 (YOLOX), with the choices of
    the published YOLOX runs of EFL.
    """

    scale: tuple[float, float] = (0.8, 1.6)
    flip: float = 0.0

    def __call__(
        self, sample: Annotated, other: Annotated, rng: np.random.Generator, *, fill: int
    ) -> Annotated:
        """`sample` with `other` shining through."""
        size = height, width = sample.image.shape[:2]
        factor, flips = rng.uniform(*self.scale), rng.random() < self.flip
        before = other.image.shape[:2]
        other = place(resize(other, fit_inside(before, size)), (0, 0), size, fill=fill)
        other = resize(other, (max(1, int(height * factor)), max(1, int(width * factor))))
        if flips:
            other = flip_horizontally(other)
        room_y, room_x = other.image.shape[0] - height, other.image.shape[1] - width
        top, left = int(rng.integers(max(room_y, 0) + 1)), int(rng.integers(max(room_x, 0) + 1))
        other = place(other, (-left, -top), size, fill=fill, keep=KEEP)
        if not (other.labels != IGNORE).any():
            return sample
        image = cv2.addWeighted(sample.image, 0.5, other.image, 0.5, 0.0)
        return join(image, [sample, other])
