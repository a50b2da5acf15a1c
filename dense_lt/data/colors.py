"""Random colours, on bytes."""

from __future__ import annotations

import cv2
import numpy as np

HUES = 180
"""OpenCV counts hue in steps of two degrees, so that it fits into a byte."""


def jitter_hsv(
    image: np.ndarray, gains: tuple[float, float, float], rng: np.random.Generator
) -> np.ndarray:
    """Multiply hue, saturation and value by 1 + gain * u each, u uniform in [-1, 1].

    Hue is cyclic, so its angle is taken modulo a full circle; the others end at 255.

    Args:
        image: (H, W, 3) uint8, RGB; not changed.
        gains: of hue, saturation and value.
        rng: of the three factors.

    Source: YOLOv3 (Jocher), as YOLOX and the YOLOX runs of EFL use it.
    """
    hue, saturation, value = 1 + rng.uniform(-1, 1, 3) * gains
    levels = np.arange(256)
    tables = np.stack(
        [
            levels * hue % HUES,
            np.minimum(levels * saturation, 255),
            np.minimum(levels * value, 255),
        ],
        axis=-1,
    ).astype(np.uint8)
    changed = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), tables[None])
    return cv2.cvtColor(changed, cv2.COLOR_HSV2RGB)
