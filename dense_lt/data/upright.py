"""Image files that no annotation describes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from dense_lt.data.images import UNREADABLE, read_image
from dense_lt.utils.errors import DataError

_TURNED = range(5, 9)
"""EXIF orientations that exchange width and height."""


def read_upright(path: Path) -> np.ndarray:
    """Pixels (H, W, 3) uint8, RGB, turned as a camera's rotation mark (EXIF) says.

    Raises:
        DataError: the file is missing, or no image that can be decoded.
    """
    try:
        with Image.open(path) as file:
            width, height = file.size
            turned = file.getexif().get(ExifTags.Base.Orientation) in _TURNED
        return read_image(path, (width, height) if turned else (height, width))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such image") from None
    except UNREADABLE as error:
        raise DataError(f"{path}: is no image that can be read: {error}") from error
