"""Where a split lies: its annotation file and the folders of its images."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dense_lt.utils.errors import DataError


class SplitFiles(NamedTuple):
    """Paths of one split; images are looked for in the folders first to last."""

    annotations: Path
    image_folders: tuple[Path, ...]


def check_paths(files: SplitFiles, *, images: bool) -> None:
    """Find a mistyped path before minutes are spent on reading the other files.

    Args:
        files: of one split.
        images: whether the folders are looked for as well.

    Raises:
        DataError: a file or a folder is not there.
    """
    if not files.annotations.is_file():
        raise DataError(f"{files.annotations}: there is no such annotation file; check the path")
    for folder in files.image_folders if images else ():
        if not folder.is_dir():
            raise DataError(
                f"{folder}: there is no such folder of images; correct the `images` of the split "
                f"with {files.annotations}"
            )
