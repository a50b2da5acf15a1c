"""Boundary IoU: how well do the outlines of two masks agree?

Mask IoU hardly notices the outline of a large object. Here only the band of pixels inside each mask
that are near its outline is compared. Boundary AP is average precision with the smaller of mask IoU
and boundary IoU.

Source: Cheng et al. 2021. As their code does it: the band is 2% of the image's diagonal wide, in
chessboard distance, and the border of the image is an outline too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.masks import PackedMasks, Rle, decode_mask, mask_tools

WIDTH = 0.02
"""Of the band, as a fraction of the image's diagonal."""


def boundary_iou(
    detections: PackedMasks,
    objects: PackedMasks,
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    crowd: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """IoU of the bands of detection pairs[0][i] and object pairs[1][i]: (P,); `crowd` is (G,)."""
    detection_band, object_band = _bands(detections), _bands(objects)
    tools = mask_tools()
    values = [
        tools.iou([detection_band(one)], [object_band(other)], [int(crowd[other])])[0, 0]
        for one, other in zip(pairs[0].tolist(), pairs[1].tolist(), strict=True)
    ]
    return np.array(values, dtype=np.float64)


def _bands(masks: PackedMasks) -> Callable[[int], Rle]:
    """Bands of masks by index, each made once."""
    made: dict[int, Rle] = {}

    def band(index: int) -> Rle:
        if index not in made:
            pixels = decode_mask(masks[index])
            made[index] = mask_tools().encode(np.asfortranarray(boundary(pixels)))
        return made[index]

    return band


def boundary(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) the pixels of `mask` (H, W) that are near its outline."""
    height, width = mask.shape
    distance = max(1, round(WIDTH * float(np.hypot(height, width))))
    return mask - _erode(mask, distance)


def _erode(mask: NDArray[np.uint8], distance: int) -> NDArray[np.uint8]:
    """1 where the whole square of side 2 * distance + 1 is inside `mask`; outside it is 0.

    Counted with sums over rectangles, so the time does not depend on the distance.
    """
    padded = np.pad(mask.astype(np.int32), distance)
    sums = np.pad(padded.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    side = 2 * distance + 1
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return (inside == side * side).astype(np.uint8)
