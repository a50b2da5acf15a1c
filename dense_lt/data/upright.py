"""Image files that no annotation describes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from dense_lt.data.images import EXCHANGING, UNREADABLE, orientation, read_image
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
