"""Images with objects that are easy to tell apart: each is filled with a colour of its own."""

from __future__ import annotations

import cv2
import numpy as np

from dense_lt.data.outlines import Outlines
from dense_lt.data.transforms import Annotated

GREY = 100
COLORS = np.array(
    [[250, 10, 10], [10, 250, 10], [10, 10, 250], [250, 250, 10], [250, 10, 250], [10, 250, 250]],
    dtype=np.uint8,
)


def color_of(label: int) -> np.ndarray:
    """The colour in which objects of a class are painted."""
    return COLORS[label % len(COLORS)]


def ellipse(centre: tuple[float, float], radii: tuple[float, float], turn: float) -> np.ndarray:
    """A ring of 40 corners, (40, 2) float32; `turn` in radians."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    points = np.stack([radii[0] * np.cos(angle), radii[1] * np.sin(angle)], axis=1)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return (points @ rotation + centre).astype(np.float32)


def rectangle(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    """A ring of four corners."""
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], dtype=np.float32)


def painted(
    size: tuple[int, int], rings: list[np.ndarray], *, masks: bool = True, first_label: int = 0
) -> Annotated:
    """An image of `size` (height, width) with one object for each ring, later ones on top."""
    outlines = Outlines.from_rings([[ring] for ring in rings])
    labels = np.arange(len(rings), dtype=np.int64) + first_label
    image = np.full((*size, 3), GREY, dtype=np.uint8)
    for label, bitmap in zip(labels, outlines.to_bitmaps(size), strict=True):
        image[bitmap != 0] = color_of(int(label))
    return Annotated(image, outlines.boxes(), labels, outlines if masks else None)


def assert_in_step(sample: Annotated, *, tolerance: float, purity: float = 0.7) -> None:
    """Boxes bound outlines, which lie inside the image, over pixels of their label's colour.

    Args:
        sample: made from `painted` ones whose objects did not cover each other.
        tolerance: of each side of a box, pixels.
        purity: least part of an object's pixels, two or more from its edge, whose nearest colour is
            its label's.
    """
    assert sample.image.dtype == np.uint8
    assert sample.boxes.dtype == np.float32
    assert sample.masks is not None
    assert len(sample.boxes) == len(sample.labels) == len(sample.masks)
    height, width = sample.image.shape[:2]
    assert (sample.boxes >= 0).all()
    assert (sample.boxes <= (width, height, width, height)).all()
    palette = np.concatenate([COLORS, np.full((1, 3), GREY, dtype=np.uint8)]).astype(int)
    distance = np.abs(sample.image[:, :, None].astype(int) - palette).sum(axis=-1)
    nearest = distance.argmin(axis=-1)
    bitmaps = sample.masks.to_bitmaps((height, width)) != 0
    for box, label, bitmap in zip(sample.boxes, sample.labels, bitmaps, strict=True):
        assert bitmap.any(), f"the outline of object {label} is empty"
        rows, columns = np.flatnonzero(bitmap.any(1)), np.flatnonzero(bitmap.any(0))
        tight = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert np.abs(box - tight).max() <= tolerance, (label, box, tight)
        framed = np.pad(bitmap, 2).astype(np.uint8)
        core = cv2.erode(framed, np.ones((5, 5)))[2:-2, 2:-2] != 0
        if core.any():  # interpolation mixes the colours of the edge with what is around
            hits = (nearest[core] == label % len(COLORS)).mean()
            assert hits >= purity, f"{hits:.2f} of object {label} has its colour"
