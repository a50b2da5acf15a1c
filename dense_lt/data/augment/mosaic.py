"""Four images around one point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dense_lt.data.augment.geometry import draw, join, move_objects, shift
from dense_lt.data.transforms import Annotated, fit_inside, resize

PARTS = 4


def mosaic(
    samples: Sequence[Annotated], size: tuple[int, int], rng: np.random.Generator, *, fill: int
) -> Annotated:
    """Four images, each fitted into `size`, with a corner of each at a random centre.

    The first lies above and left of the centre, then above right, below left, below right. The
    canvas is twice as high and wide as `size`, the centre is uniform in its middle half. An affine
    map is meant to follow, which cuts `size` out of the canvas.

    Args:
        samples: four.
        size: (height, width) in pixels.
        rng: of the centre.
        fill: grey level where no image reaches.

    Source: Bochkovskiy et al. 2020 (YOLOv4), in the form of Ge et al. 2021 (YOLOX).
    """
    assert len(samples) == PARTS, f"{len(samples)} samples"
    height, width = size
    canvas = np.full((2 * height, 2 * width, 3), fill, dtype=np.uint8)
    centre_y = int(rng.integers(height // 2, height + height // 2 + 1))
    centre_x = int(rng.integers(width // 2, width + width // 2 + 1))
    parts = []
    for number, sample in enumerate(samples):
        before = sample.image.shape[:2]
        fitted = resize(sample, fit_inside(before, size))
        below, right = divmod(number, 2)
        rows, columns = fitted.image.shape[:2]
        corner = (centre_x if right else centre_x - columns, centre_y if below else centre_y - rows)
        draw(canvas, fitted.image, corner)
        parts.append(move_objects(fitted, shift(*corner), canvas))
    return join(canvas, parts)
