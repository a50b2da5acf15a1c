"""Boxes drawn on images: small images are enlarged, boxes carry numbers, a list says the rest.

Numbers instead of names in the picture: names of three classes on one 80-pixel image would cover
each other and the objects.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIDE = 360
"""Longer side of a picture in pixels, about; small images are enlarged by whole factors."""

COLOURS = {"truth": "#ffffff", "right": "#56b4e9", "wrong": "#ff9d3d", "not judged": "#c8c8c8"}
"""After Okabe and Ito; the list below a picture says the same in words."""

_TAG = 20  # height of the numbers in pixels


_TINT = 0.45  # share of a mask's colour in its pixels


def draw_boxes(
    image: Image.Image,
    boxes: NDArray[np.floating],
    colours: Sequence[str],
    masks: Sequence[NDArray[np.integer]] = (),
) -> Image.Image:
    """A picture of `image` with numbered boxes, and masks under them.

    Args:
        image: RGB.
        boxes: (D, 4) xyxy in pixels of `image`; box i gets the number i + 1.
        colours: one per box.
        masks: D x (H, W) of 0 and 1 over the whole image, at any resolution; or none.
    """
    factor = scale_for(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    picture = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    for mask, colour in zip(masks, colours, strict=bool(masks)):
        share = Image.fromarray(np.where(mask, round(255 * _TINT), 0).astype(np.uint8))
        picture.paste(colour, (0, 0, *size), share.resize(size, Image.Resampling.NEAREST))
    pen = ImageDraw.Draw(picture)
    limit = np.array([size[0] - 1, size[1] - 1] * 2)
    scaled = np.clip(np.sort((boxes * factor).reshape(-1, 2, 2), axis=1).reshape(-1, 4), 0, limit)
    # The best box comes last, on top of the others.
    for box, colour in reversed(list(zip(scaled.tolist(), colours, strict=True))):
        pen.rectangle(box, outline="black", width=4)
        pen.rectangle(
            [box[0] + 1, box[1] + 1, max(box[0] + 1, box[2] - 1), max(box[1] + 1, box[3] - 1)],
            outline=colour,
            width=2,
        )
    _write_numbers(pen, size, scaled, colours)
    return picture


def scale_for(size: tuple[int, int]) -> float:
    """Factor that brings the longer side near SIDE: whole above 1, so that pixels stay even."""
    factor = SIDE / max(size)
    return float(int(factor)) if factor >= 1 else factor


def save_picture(picture: Image.Image, path: Path) -> bytes:
    """Write a PNG to `path`; return a JPEG of it, which is a quarter of its size, for the page."""
    picture.save(path)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82, subsampling=0)
    return buffer.getvalue()


def _write_numbers(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    boxes: NDArray[np.floating],
    colours: Sequence[str],
) -> None:
    """A number at a corner of each box, where it covers the fewest earlier numbers."""
    font = ImageFont.load_default(_TAG - 1)
    placed: list[tuple[float, float, float, float]] = []
    for number, (box, colour) in enumerate(zip(boxes.tolist(), colours, strict=True), start=1):
        width = pen.textlength(str(number), font=font) + 6
        place = min(
            _places(box, (width, _TAG + 1), size),
            key=lambda own: sum(_overlap(own, other) for other in placed),
        )
        placed.append(place)
        pen.rectangle(place, fill=colour, outline="black")
        middle = ((place[0] + place[2]) / 2, (place[1] + place[3]) / 2)
        pen.text(middle, str(number), fill="black", font=font, anchor="mm")


def _places(
    box: Sequence[float], tag: tuple[float, float], size: tuple[int, int]
) -> list[tuple[float, float, float, float]]:
    """Where a tag may stand: outside above and below the box, then inside its corners."""
    x1, y1, x2, y2 = box
    width, height = tag
    tops = (y1 - height, y2, y1, y2 - height)
    found: list[tuple[float, float, float, float]] = []
    for top in tops:
        for left in (x1, x2 - width):
            x = min(max(left, 0), size[0] - 1 - width)
            y = min(max(top, 0), size[1] - 1 - height)
            found.append((x, y, x + width, y + height))
    return found


def _overlap(first: Sequence[float], second: Sequence[float]) -> float:
    across = min(first[2], second[2]) - max(first[0], second[0])
    down = min(first[3], second[3]) - max(first[1], second[1])
    return max(across, 0) * max(down, 0)
