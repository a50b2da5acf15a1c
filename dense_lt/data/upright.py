"""Images that no annotation describes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dense_lt.data.images import EXCHANGING, UNREADABLE, orientation, read_image, to_rgb
from dense_lt.utils.errors import DataError


def read_upright(path: Path) -> np.ndarray:
    """Pixels (H, W, 3) uint8, RGB, turned and mirrored as a camera's mark (EXIF) says.

    Raises:
        DataError: the file is missing, or no image that can be decoded.
    """
    try:
        with Image.open(path) as file:
            width, height = file.size
            turned = orientation(file) in EXCHANGING
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such image") from None
    except UNREADABLE as error:
        raise DataError(f"{path}: is no image that can be read: {error}") from error
    return read_image(path, (width, height) if turned else (height, width), exif="obey")


def to_upright(image: Image.Image, where: str) -> np.ndarray:
    """Pixels (H, W, 3) uint8, RGB, of an image of Pillow, turned as `read_upright` turns its file.

    Args:
        image: it is not changed, but its pixels are read if they have not been.
        where: names it in an error.

    Raises:
        DataError: it has no pixels, or none that can be decoded.
    """
    if 0 in image.size:
        raise DataError(f"{where}: an image of {image.width} x {image.height} has no pixels")
    try:
        turned = image if orientation(image) == 1 else ImageOps.exif_transpose(image)
        return to_rgb(turned)
    except UNREADABLE as error:
        raise DataError(f"{where}: cannot be decoded: {error}") from error
