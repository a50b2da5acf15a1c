"""Sizes of images in pixels: Open Images gives boxes as fractions, and no sizes.

They come from a CSV file (ImageID, width, height), such as others have published, and for images
that it does not list from the headers of the image files, read in parallel and kept.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from dense_lt.data.csv_files import TEXT, WHOLE, column_names, lines_of, read_tables
from dense_lt.data.images import UNREADABLE
from dense_lt.utils.errors import DataError

logger = logging.getLogger(__name__)

SUFFIX = ".jpg"
"""Of all image files of Open Images."""

THREADS = 16
"""Headers that are waited for at once."""

CHUNK = 10_000
"""Sizes that are kept at once; so many an interruption can cost."""

HEADER = "ImageID,width,height\n"

Sizes = NDArray[np.int32]
"""(I, 2) height and width; 0 where they are not known."""


def find_sizes(
    names: NDArray[np.bytes_],
    csv_file: Path | None,
    image_folders: Sequence[Path],
    *,
    cache_folder: Path | None = None,
) -> Sizes:
    """Sizes of images.

    Args:
        names: (I,) ids of images, rising.
        csv_file: ImageID, width and height; None has none.
        image_folders: where images lie that it does not list, first to last.
        cache_folder: sizes read from headers are kept there, so that an interrupted search goes on
            and the next run has them at once; None keeps nothing.

    Returns:
        (I, 2) height and width; 0 for images that are nowhere, or broken.

    Raises:
        DataError: the file cannot be used, or is of other copies of the images.
    """
    sizes = np.zeros((len(names), 2), np.int32)
    if csv_file is not None:
        _fill(sizes, names, csv_file)
        _compare(sizes, names, csv_file, image_folders)
    missing = np.flatnonzero(sizes[:, 0] == 0)
    if not len(missing) or not image_folders:
        return sizes
    kept = None
    if cache_folder is not None:
        folders = "\n".join(str(folder.resolve()) for folder in image_folders)
        kept = cache_folder / f"sizes_{hashlib.sha256(folders.encode()).hexdigest()[:24]}"
        for part in kept.glob("*.csv"):
            _fill(sizes, names, part)
        missing = np.flatnonzero(sizes[:, 0] == 0)
    _measure(sizes, names, missing, image_folders, kept)
    return sizes


def _fill(sizes: Sizes, names: NDArray[np.bytes_], path: Path) -> None:
    """Take what a file says of `names`."""
    given = column_names(path)
    width, height = (
        next((name for name in given if name.lower() == wanted), wanted)
        for wanted in ("width", "height")
    )
    row = 0
    for table in read_tables(path, {"ImageID": TEXT, width: WHOLE, height: WHOLE}):
        pairs = np.stack([table[height], table[width]], axis=1)
        if (pairs < 1).any():
            wrong = int(np.flatnonzero((pairs < 1).any(axis=1))[0])
            raise DataError(
                f"{path}: line {lines_of(path, [row + wrong])[0]}: height and width are "
                f"{pairs[wrong].tolist()}; pixels are needed, at least 1"
            )
        if len(names):
            index = np.minimum(np.searchsorted(names, table["ImageID"]), len(names) - 1)
            known = np.flatnonzero(names[index] == table["ImageID"])
            sizes[index[known]] = pairs[known]
        row += len(pairs)


def _compare(sizes: Sizes, names: NDArray[np.bytes_], path: Path, folders: Sequence[Path]) -> None:
    """Refuse sizes of other copies of the images: the smaller ones that many use, say."""
    for index in sorted({0, len(names) // 2, len(names) - 1} - {-1, len(names)}):
        name = names[index].decode() + SUFFIX
        file = next((own for folder in folders if (own := folder / name).is_file()), None)
        found, given = _header_size(file), tuple(sizes[index].tolist())
        if given[0] and found[0] and found != given:
            raise DataError(
                f"{path}: says that {names[index].decode()} is {given[1]} x {given[0]} pixels "
                f"(width x height), but {file} is {found[1]} x {found[0]}; leave "
                "`sizes` out to have them read from the images"
            )


def _measure(
    sizes: Sizes,
    names: NDArray[np.bytes_],
    missing: NDArray[np.int64],
    folders: Sequence[Path],
    kept: Path | None,
) -> None:
    """Read headers and fill `sizes`, some thousand images at a time."""
    listings = [_listing(folder) for folder in folders]
    bar = tqdm(total=len(missing), desc="sizes of images", unit="image", delay=2)
    with ThreadPoolExecutor(THREADS) as pool, bar:
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            own = [name.decode() for name in names[chunk].tolist()]
            paths = [_find(name + SUFFIX, folders, listings) for name in own]
            found = np.array(list(pool.map(_header_size, paths)), np.int32).reshape(-1, 2)
            sizes[chunk] = found
            bar.update(len(chunk))
            if kept is not None:
                _keep(kept, own, found)


def _listing(folder: Path) -> frozenset[str]:
    return frozenset(os.listdir(folder)) if folder.is_dir() else frozenset()  # millions of names


def _find(name: str, folders: Sequence[Path], listings: Sequence[frozenset[str]]) -> Path | None:
    places = zip(folders, listings, strict=True)
    return next((folder / name for folder, listing in places if name in listing), None)


def _header_size(path: Path | None) -> tuple[int, int]:
    """(height, width) of an image file, (0, 0) if there is none or it is broken."""
    if path is None:
        return 0, 0
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except UNREADABLE:
        return 0, 0


def _keep(folder: Path, names: Sequence[str], sizes: Sizes) -> None:
    """Write a file that is there as a whole or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(dir=folder, suffix=".unfinished")
        with open(handle, "w", encoding="utf-8") as file:
            file.write(HEADER)
            for name, (height, width) in zip(names, sizes.tolist(), strict=True):
                if height:
                    file.write(f"{name},{width},{height}\n")
        Path(unfinished).rename(Path(unfinished).with_suffix(".csv"))
    except OSError as error:
        logger.info("%s: sizes of images cannot be kept for the next run: %s", folder, error)
