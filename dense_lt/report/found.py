"""Detections drawn on their image at its own size, with class and score beside each box."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from dense_lt.data.images import UNREADABLE
from dense_lt.data.preview import color_of
from dense_lt.utils.writing import whole

SMALLEST = 480
"""Images with a shorter longer side are enlarged by a whole factor: letters need room."""

_MAKER = "dense-lt predict"
"""Is noted in a picture, so that a photograph is never taken for one."""


def draw_found(
    pixels: NDArray[np.uint8],
    boxes: NDArray[np.floating],
    labels: NDArray[np.integer],
    captions: Sequence[str],
) -> Image.Image:
    """A picture of an image and what was found in it.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        boxes: (D, 4) xyxy in its pixels, best first: the best is drawn on top.
        labels: (D,) classes, which choose the colours.
        captions: D texts.
    """
    image = Image.fromarray(pixels)
    factor = max(1, SMALLEST // max(image.size))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    pen, stroke = ImageDraw.Draw(image), max(2, round(max(image.size) / 500))
    font = ImageFont.load_default(max(12, round(max(image.size) / 60)))
    rows = zip((boxes * factor).tolist(), labels.tolist(), captions, strict=True)
    for (x1, y1, x2, y2), label, caption in reversed(list(rows)):
        color = color_of(label)
        pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=color, width=stroke)
        text = caption.encode("latin-1", "replace").decode("latin-1")  # letters the font knows
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        width, height = right - left + 4, bottom - top + 4
        x = min(max(x1, 0), max(0, image.width - width))
        y = y1 - height if y1 >= height else min(y1, image.height - height)
        pen.rectangle((x, y, x + width, y + height), fill=color)
        pen.text((x + 2 - left, y + 2 - top), text, fill=(0, 0, 0), font=font)
    return image


def save_found(picture: Image.Image, path: Path) -> None:
    """Write what `draw_found` gave as a PNG file, whole or not at all."""
    note = PngImagePlugin.PngInfo()
    note.add_text("Software", _MAKER)
    with whole(path) as draft:
        picture.save(draft, format="PNG", pnginfo=note)


def is_found_picture(path: Path) -> bool:
    """Whether `save_found` has written the file."""
    try:
        with Image.open(path) as picture:
            return picture.info.get("Software") == _MAKER
    except UNREADABLE:
        return False
