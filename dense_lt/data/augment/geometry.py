"""Moving an image and its objects together: shifts, affine maps, several images side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dense_lt.data.outlines import Outlines, concatenate
from dense_lt.data.transforms import MIN_SIDE, Annotated
from dense_lt.ops.matching import IGNORE

Matrix = np.ndarray
"""(2, 3) float64: takes (x, y, 1) in the old image, pixels, to (x, y) in the new one."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Which objects are still worth learning after a move.

    Attributes:
        visible: at least this part of the area of the moved box lies in the new image.
        side: the shorter side is at least so many pixels long.
        aspect: the longer side is at most so many times the shorter.
    """

    visible: float = 0.0
    side: float = MIN_SIDE
    aspect: float = float("inf")

    def chosen(self, boxes: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """Numbers of the `boxes` (M, 4) to keep; `whole` are the same before they were cut."""
        sides = boxes[:, 2:] - boxes[:, :2]
        area = (whole[:, 2:] - whole[:, :2]).prod(axis=1)
        kept = (sides >= self.side).all(axis=1) & (sides.prod(axis=1) >= self.visible * area)
        if np.isfinite(self.aspect):
            kept &= sides.max(axis=1, initial=0) <= self.aspect * sides.min(axis=1, initial=np.inf)
        return np.flatnonzero(kept)


KEEP = Keep()


def shift(x: float, y: float) -> Matrix:
    """The matrix that moves everything right by `x` and down by `y` pixels."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y]])


def warp(
    sample: Annotated, matrix: Matrix, size: tuple[int, int], *, fill: int, keep: Keep = KEEP
) -> Annotated:
    """Everything moved by `matrix` into a new image of `size` (height, width).

    Pixels between those of the old image are interpolated linearly; `fill` is the grey level where
    the old image does not reach.
    """
    # OpenCV gives pixels whole coordinates at their centres, where ours end in one half
    centred = matrix.copy()
    centred[:, 2] += matrix[:, :2].sum(axis=1) / 2 - 0.5
    image = cv2.warpAffine(sample.image, centred, size[::-1], borderValue=(fill,) * 3)
    return move_objects(sample, matrix, image, keep)


def place(
    sample: Annotated,
    corner: tuple[int, int],
    size: tuple[int, int],
    *,
    fill: int,
    keep: Keep = KEEP,
) -> Annotated:
    """Put the image's top left corner at `corner` (x, y) of a new image of `size`.

    What reaches out of the new image is cut off; `fill` is the grey level of the rest.
    """
    canvas = np.full((*size, 3), fill, dtype=np.uint8)
    draw(canvas, sample.image, corner)
    return move_objects(sample, shift(*corner), canvas, keep)


def draw(canvas: np.ndarray, image: np.ndarray, corner: tuple[int, int]) -> None:
    """Copy `image` into `canvas` with its top left corner at `corner` (x, y), as far as it fits."""
    x, y = corner
    left, top = max(x, 0), max(y, 0)
    right = max(left, min(x + image.shape[1], canvas.shape[1]))
    bottom = max(top, min(y + image.shape[0], canvas.shape[0]))
    canvas[top:bottom, left:right] = image[top - y : bottom - y, left - x : right - x]


def move_objects(
    sample: Annotated, matrix: Matrix, image: np.ndarray, keep: Keep = KEEP
) -> Annotated:
    """The objects moved by `matrix` and cut to `image` (H, W, 3), which replaces the old one.

    Where an object is turned or cut, its new box is drawn around what is left of its outline, and
    around its box's four corners if it has none.
    """
    size = image.shape[:2]
    whole = _move_boxes(sample.boxes, matrix)
    masks = None if sample.masks is None else sample.masks.moved(matrix)
    if masks is not None and not _keeps_axes(matrix):
        whole = _where_outlined(masks, masks.boxes(), whole)
    boxes = np.clip(whole, 0, np.array(size[::-1] * 2, dtype=np.float32))
    cut = (boxes != whole).any(axis=1)
    if masks is not None and cut.any():
        masks = masks.clipped(size)
        boxes[cut] = _where_outlined(masks, masks.boxes_within(size), boxes)[cut]
    moved = sample._replace(image=image, boxes=boxes, masks=masks)
    kept = keep.chosen(boxes, whole)
    if keep != KEEP and (crowds := np.flatnonzero(sample.labels == IGNORE)).size:
        # a hundredth of a crowd may fill the new image
        kept = np.union1d(kept, np.intersect1d(crowds, KEEP.chosen(boxes, whole)))
    return moved if len(kept) == len(boxes) else moved.take(kept)


def join(image: np.ndarray, parts: Sequence[Annotated]) -> Annotated:
    """The objects of all parts, in order, as those of `image`; all have outlines or none has.

    A class was checked in the whole if it was checked in every part: where one of them may hold
    objects of it that nobody marked, it must not be learnt as absent.
    """
    outlines = [part.masks for part in parts if part.masks is not None]
    assert len(outlines) in (0, len(parts)), f"{len(outlines)} of {len(parts)} parts have outlines"
    checked = [part.checked for part in parts if part.checked is not None]
    return Annotated(
        image=image,
        boxes=np.concatenate([part.boxes for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        masks=concatenate(outlines) if outlines else None,
        checked=np.logical_and.reduce(checked) if checked else None,
    )


def _move_boxes(boxes: np.ndarray, matrix: Matrix) -> np.ndarray:
    """Boxes around the moved corners of `boxes`: (M, 4) float32."""
    corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1, dtype=np.float32)


def _keeps_axes(matrix: Matrix) -> bool:
    """Whether upright boxes stay upright."""
    return not (matrix[0, 1] or matrix[1, 0]) or not (matrix[0, 0] or matrix[1, 1])


def _where_outlined(masks: Outlines, around: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """`around` for objects that were given with an outline, `boxes` for the others: (M, 4)."""
    return np.where((np.diff(masks.objects) > 0)[:, None], around, boxes)
