"""Dataset section -> the annotation file and the image folders of every split."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, assert_never

from dense_lt.config.data import DatasetConfig, DrawnConfig, JsonDatasetConfig, SplitConfig
from dense_lt.data.drawn.build import annotation_paths, ensure_drawn
from dense_lt.utils.distributed import barrier, is_main
from dense_lt.utils.errors import DataError


class SplitFiles(NamedTuple):
    """Where one split lies."""

    annotations: Path
    image_folders: tuple[Path, ...]


def find_files(config: DatasetConfig) -> dict[str, SplitFiles]:
    """Paths of "train" and "val"; the drawn set is drawn if it is missing.

    In a run of several processes every one of them must ask.

    Raises:
        DataError: the folder of the drawn set holds something else.
    """
    match config:
        case DrawnConfig():
            folder = _draw_once(config)
            paths = annotation_paths(folder)
            return {name: SplitFiles(path, (folder,)) for name, path in paths.items()}
        case JsonDatasetConfig(root=root, train=train, val=val):
            return {"train": _resolve(root, train), "val": _resolve(root, val)}
        case _:
            assert_never(config)


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


def _resolve(root: Path, split: SplitConfig) -> SplitFiles:
    return SplitFiles(root / split.annotations, tuple(root / folder for folder in split.images))


def _draw_once(config: DrawnConfig) -> Path:
    """Let one process draw while the others wait; then each looks for itself."""
    try:
        if is_main():
            ensure_drawn(config)
    finally:
        barrier()
    return ensure_drawn(config)
