"""Open Images read once: later runs, and the other processes of a run, map what was kept."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from dense_lt.data.categories import CategoryTable
from dense_lt.data.openimages.assemble import Options
from dense_lt.data.openimages.read import OpenImagesFiles, read_open_images
from dense_lt.data.store import MIN_BYTES, load_or_read
from dense_lt.data.table import AnnotationTable


def read_open_images_once(
    files: OpenImagesFiles,
    options: Options | None = None,
    *,
    folder: Path | None,
    categories: CategoryTable | None = None,
    drop_invalid_boxes: bool = False,
    min_bytes: int = MIN_BYTES,
) -> tuple[AnnotationTable, CategoryTable]:
    """What `read_open_images` gives, from `folder` if it was made before of the same content.

    Args:
        files: of the split.
        options: group-of boxes and expansion.
        folder: where columns and sizes of images are kept; None keeps nothing.
        categories: see `read_open_images`.
        drop_invalid_boxes: likewise.
        min_bytes: of smaller files of boxes, only sizes of images are kept.

    Raises:
        DataError: as `read_open_images`.
    """
    options = options or Options()

    def read() -> tuple[AnnotationTable, CategoryTable]:
        return read_open_images(
            files,
            options,
            categories=categories,
            drop_invalid_boxes=drop_invalid_boxes,
            sizes_folder=folder,
        )

    if folder is None or not files.boxes.is_file() or files.boxes.stat().st_size < min_bytes:
        return read()
    decides = {
        "format": "openimages",
        "categories": categories,
        "drop_invalid_boxes": drop_invalid_boxes,
        "roles": [path is not None for path in (files.labels, files.hierarchy, files.sizes)],
        "images": [_state(own) for own in files.image_folders],
        **asdict(options),
    }
    table, kept = load_or_read(files.given(), decides, folder, lambda _: read())
    return table, categories or kept


def _state(folder: Path) -> tuple[str, int]:
    """Changes when images come or go: sizes that no file gives are read from them."""
    return str(folder.resolve()), folder.stat().st_mtime_ns if folder.is_dir() else 0
