"""Samples as a network sees them, with boxes, masks and class names, in one picture."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from string import printable

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from dense_lt.data.batching import to_outlines
from dense_lt.data.lettering import Lettering
from dense_lt.structures import Batch, Target

TILE = 360
"""Pixels of a side of the square that a sample is fitted into."""

GAP = 4
COLUMNS = 4
MOST_LABELS = 60
"""Objects of a sample whose class names are written; more would hide the picture."""

LONGEST_CAPTION = 55
"""Letters that fit below a sample; of longer names the end is shown."""

MASK_STRENGTH = 0.3
CROWD, CROWD_COLOR, DASH = "crowd", (170, 170, 170), 5
BACKDROP = (32, 32, 32)
GOLDEN_RATIO = 0.618034


def contact_sheet(
    batch: Batch, names: Sequence[str], captions: Mapping[int, str] | None = None
) -> Image.Image:
    """One picture of the samples of a batch, four in a row.

    Args:
        batch: as a loader yields it, after augmentation.
        names: class name of every label.
        captions: file name of every image, by its id; where there is none, the id is written.
    """
    captions = captions or {}
    samples = zip(batch.images.pixels, batch.images.sizes, batch.targets, strict=True)
    rows = -(-len(batch.infos) // COLUMNS)
    step = TILE + GAP
    own = [_caption(info.image_id, captions) for info in batch.infos]
    lettering = Lettering([*names, *own, printable.strip()])  # the last has the letters of CROWD
    sheet = Image.new("RGB", (COLUMNS * step + GAP, rows * step + GAP), BACKDROP)
    for number, (pixels, (height, width), target) in enumerate(samples):
        row, column = divmod(number, COLUMNS)
        tile = draw_sample(pixels[:, :height, :width], target, names, own[number], lettering)
        sheet.paste(tile, (GAP + column * step, GAP + row * step))
    return sheet


def _caption(image_id: int, captions: Mapping[int, str]) -> str:
    return captions.get(image_id, f"image {image_id}")[-LONGEST_CAPTION:]


def draw_sample(
    image: Tensor,
    target: Target,
    names: Sequence[str],
    caption: str = "",
    lettering: Lettering | None = None,
) -> Image.Image:
    """An image (3, H, W) uint8 and its objects, scaled to a tile; small ones are not smoothed.

    Regions in which nothing is background are dashed and grey. Objects are named where there are
    at most `MOST_LABELS`.

    Args:
        image: before normalisation.
        target: its objects.
        names: class name of every label.
        caption: written at the bottom.
        lettering: that of `names` and `caption`; None looks for one.
    """
    lettering = lettering or Lettering([*names, caption, CROWD])
    pixels = image.permute(1, 2, 0).numpy().astype(np.float32)
    labels: list[int] = target["labels"].tolist()
    if "masks" in target:
        bitmaps = to_outlines(target["masks"]).to_bitmaps(pixels.shape[:2])
        for label, bitmap in zip(labels, bitmaps, strict=True):
            inside, mask = np.array(color_of(label), dtype=np.float32), bitmap != 0
            pixels[mask] = (1 - MASK_STRENGTH) * pixels[mask] + MASK_STRENGTH * inside
    height, width = pixels.shape[:2]
    scale = TILE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    tile = Image.fromarray(pixels.astype(np.uint8)).resize(size, method)
    pen = ImageDraw.Draw(tile)
    regions = target.get("ignored", torch.zeros(0, 4)).numpy() * scale
    for x1, y1, x2, y2 in regions.tolist():
        _dash(pen, (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)))
        lettering.write(pen, (x1, y1), CROWD, CROWD_COLOR)
    for label, box in zip(labels, target["boxes"].numpy() * scale, strict=True):
        x1, y1, x2, y2 = box.tolist()
        pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=color_of(label))
        if len(labels) <= MOST_LABELS:
            lettering.write(pen, (x1, y1), names[label], color_of(label))
    lettering.write(pen, (0, size[1] - 11), caption, (255, 255, 255))
    return tile


def _dash(pen: ImageDraw.ImageDraw, box: tuple[float, float, float, float]) -> None:
    """The sides of a box, dashed; coordinates of corners are those of pixels."""
    left, top, right, bottom = box
    for x in np.arange(left, right, 2 * DASH).tolist():
        for y in (top, bottom):
            pen.line((x, y, min(x + DASH, right), y), CROWD_COLOR)
    for y in np.arange(top, bottom, 2 * DASH).tolist():
        for x in (left, right):
            pen.line((x, y, x, min(y + DASH, bottom)), CROWD_COLOR)


def color_of(label: int) -> tuple[int, int, int]:
    """A bright colour; those of neighbouring labels are far apart."""
    red, green, blue = colorsys.hsv_to_rgb(label * GOLDEN_RATIO % 1, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
