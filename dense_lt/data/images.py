"""The pixels of image files, as RGB in the orientation of the annotations."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps

from dense_lt.utils.errors import BadImageError, MachineError

UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow's readers raise on broken files."""

PARTS = (8, 4, 2)
"""A JPEG file can be decoded at 1/8, 1/4 or 1/2 of its size for less than it costs whole."""


ExifRule = Literal["as_annotated", "obey", "ignore"]
"""What a camera's mark (EXIF orientation) does to pixels: they are turned where only that gives the
annotated size; always; never."""

MIRRORED_OR_TURNED = range(2, 9)
EXCHANGING = range(5, 9)
"""EXIF orientations that exchange width and height; 2, 3 and 4 keep them."""


def read_image(
    path: Path,
    size: tuple[int, int],
    *,
    short_side: int | None = None,
    exif: ExifRule = "as_annotated",
    doubt: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Pixels of an image file, whatever its kind.

    COCO and LVIS annotations refer to the pixels as they are stored, those of some tools to the
    image as a viewer shows it. Which of the two has the annotated size decides, unless `exif` does.
    TIFF files are always turned: Pillow knows them in no other way.

    Args:
        path: of a grey-scale, palette, CMYK, RGB or 16-bit file, with or without transparency.
        size: (height, width) according to the annotations.
        short_side: take a JPEG file at 1/2, 1/4 or 1/8 of its size, as long as its shorter side
            keeps so many pixels; None takes all pixels.
        exif: whether a camera's orientation mark is obeyed.
        doubt: is called with a message where `as_annotated` leaves pixels as stored although
            turning them would give the same size.

    Returns:
        (height, width, 3) uint8, RGB; smaller only if `short_side` allows it, each side then
        rounded up.

    Raises:
        BadImageError: the file is missing, cannot be decoded, or has another size.
        MachineError: the folder in which it was found is not there any more.
    """
    try:
        with Image.open(path) as file:
            file.filename = ""  # Pillow would map it, and mix up the sides of a turned TIFF file
            mark = orientation(file)
            turn = _is_obeyed(mark, file, size, exif)
            if doubt and exif == "as_annotated" and not turn and _keeps_size(mark, file):
                doubt(_describe_doubt(path, mark))
            if turn:
                pixels = to_rgb(ImageOps.exif_transpose(file))
            elif short_side and file.size == size[::-1] and _reduce(file, short_side):
                return to_rgb(file)
            else:
                pixels = _decode_jpeg(file, path, size)
                pixels = to_rgb(file) if pixels is None else pixels
    except FileNotFoundError:
        _check_folder(path)
        raise BadImageError(f"{path}: there is no such image") from None
    except UNREADABLE as error:
        _check_folder(path)
        raise BadImageError(f"{path}: cannot be decoded: {error}; replace it") from error
    if pixels.shape[:2] != tuple(size):
        raise BadImageError(
            f"{path}: is {pixels.shape[1]} x {pixels.shape[0]} pixels (width x height), but its "
            f"annotations say {size[1]} x {size[0]}; use the image they were made for"
            + ("" if exif == "as_annotated" or mark == 1 else f", or another data.exif than {exif}")
        )
    return pixels


def _check_folder(path: Path) -> None:
    """Tell an image that is missing from a disk that is: its folder is gone, or nothing is in it.

    Raises:
        MachineError: so it is.
    """
    try:
        with os.scandir(path.parent) as entries:
            if next(entries, None) is not None:
                return
    except OSError:
        pass
    raise MachineError(
        f"{path.parent}: this folder of images was there, and is not any more. Mount or restore it "
        "and go on with --resume"
    )


def orientation(file: Image.Image) -> int:
    """The EXIF orientation of an open file, 1 (as stored) to 8; 1 where it is broken.

    Of TIFF files it is always 1, because Pillow itself turns them.
    """
    if file.format == "TIFF":
        return 1
    if file.format == "PNG":
        file.load()  # the mark may stand behind the pixels
    try:
        mark: object = file.getexif().get(ExifTags.Base.Orientation)
    except (*UNREADABLE, KeyError, TypeError):
        return 1
    return mark if isinstance(mark, int) and mark in MIRRORED_OR_TURNED else 1


def _is_obeyed(mark: int, file: Image.Image, size: tuple[int, int], exif: ExifRule) -> bool:
    if exif == "as_annotated":
        return mark in EXCHANGING and file.size == size != size[::-1]
    return exif == "obey" and mark != 1


def _keeps_size(mark: int, file: Image.Image) -> bool:
    """Whether obeying a mark changes an image, but not its size."""
    return mark != 1 and (mark not in EXCHANGING or file.width == file.height)


def _describe_doubt(path: Path, mark: int) -> str:
    return (
        f"{path}: its EXIF orientation is {mark}, and its size does not tell whether the "
        "annotations were made on the image as it is stored or as viewers show it; it is taken as "
        "stored. Look at the samples of `dense-lt data check`, and set data.exif to `obey` or "
        "`ignore`; further images like it are not named"
    )


def _decode_jpeg(file: Image.Image, path: Path, size: tuple[int, int]) -> np.ndarray | None:
    """Pixels of a plain JPEG file by torchvision; None for all that Pillow should look at.

    Both call the same library, but torchvision's way costs less. OpenCV's costs no more, but it
    turns a file that was cut off or damaged into pixels without a word.
    """
    if file.format != "JPEG" or file.mode not in ("RGB", "L") or file.size != size[::-1]:
        return None
    import torch  # reading the sizes of images must not wait for it
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    try:
        pixels = decode_jpeg(encoded, mode=ImageReadMode.RGB)
    except RuntimeError:
        return None  # Pillow says what is wrong with it
    assert isinstance(pixels, torch.Tensor), "a list is for lists of files"
    return pixels.permute(1, 2, 0).numpy()


def _reduce(file: Image.Image, short_side: int) -> bool:
    """Have `file` decoded smaller, if it is a JPEG and its shorter side stays long enough."""
    part = next((part for part in PARTS if min(file.size) >= part * short_side), 1)
    if file.format != "JPEG" or part == 1:
        return False
    file.draft(None, (file.width // part, file.height // part))
    return True


def to_rgb(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8; transparency is left out, 16 bits become 8.

    Raises:
        ValueError: its values are floating-point numbers.
    """
    if image.mode == "F":  # Pillow's own conversion makes [0, 1] black
        raise ValueError(
            "its pixels are floating-point numbers, and nothing says which of them is white; whole "
            "numbers of 8 or 16 bits are needed"
        )
    if image.mode.startswith("I"):  # Pillow's own conversion cuts them off at 255
        values = np.asarray(image).astype(np.float64)
        is_byte = image.mode == "I" and values.max(initial=0) <= 255
        grey = values if is_byte else values / 257
        image = Image.fromarray(np.clip(grey + 0.5, 0, 255).astype(np.uint8))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
