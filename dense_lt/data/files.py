"""Where a split lies: its annotation file and the folders of its images."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dense_lt.utils.errors import DataError


class SplitFiles(NamedTuple):
    """Paths of one split; images are looked for in the folders first to last."""

    annotations: Path
    image_folders: tuple[Path, ...]
    others: tuple[Path, ...] = ()
    """Further files that belong to the annotations."""


def check_paths(files: SplitFiles, *, images: bool) -> None:
    """Find a mistyped path before minutes are spent on reading the other files.

    Args:
        files: of one split.
        images: whether the folders are looked for as well.

    Raises:
        DataError: a file or a folder is not there.
    """
    for path in (files.annotations, *files.others):
        if not path.is_file():
            raise DataError(f"{path}: there is no such annotation file; check the path")
    for folder in files.image_folders if images else ():
        if not folder.is_dir():
            raise DataError(
                f"{folder}: there is no such folder of images; correct the `images` of the split "
                f"with {files.annotations}"
            )
