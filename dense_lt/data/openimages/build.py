"""Section of Open Images -> its files, its annotations, its faults."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dense_lt.config.openimages import OpenImagesConfig, OpenImagesSplitConfig
from dense_lt.data.categories import CategoryTable
from dense_lt.data.faults import Fault
from dense_lt.data.files import SplitFiles
from dense_lt.data.openimages.assemble import Options
from dense_lt.data.openimages.check import check_open_images
from dense_lt.data.openimages.once import read_open_images_once
from dense_lt.data.openimages.read import OpenImagesFiles
from dense_lt.data.table import AnnotationTable


def open_images_files(config: OpenImagesConfig) -> dict[str, OpenImagesFiles]:
    """Paths of "train" and "val"."""
    return {"train": _resolve(config, config.train), "val": _resolve(config, config.val)}


def find_open_images(config: OpenImagesConfig) -> dict[str, SplitFiles]:
    """What must be there before anything is read."""
    return {
        name: SplitFiles(files.boxes, files.image_folders, files.given()[1:])
        for name, files in open_images_files(config).items()
    }


def read_split(
    config: OpenImagesConfig,
    name: str,
    cache: Path | None,
    *,
    categories: CategoryTable | None,
    drop_invalid_boxes: bool,
) -> tuple[AnnotationTable, CategoryTable]:
    """Annotations of "train" or "val", with the options of the section.

    Raises:
        DataError: a file has faults, or other classes than `categories`.
    """
    return read_open_images_once(
        open_images_files(config)[name],
        Options(
            group_of=config.group_of,
            expand_boxes=config.expand_boxes,
            expand_labels=config.expand_labels,
            images_without_boxes=name != "train" or config.train_without_boxes,
        ),
        folder=cache,
        categories=categories,
        drop_invalid_boxes=drop_invalid_boxes,
    )


def open_images_faults(
    config: OpenImagesConfig, *, drop_invalid_boxes: bool
) -> dict[Path, list[Fault]]:
    """Faults of every file of boxes and of labels.

    Args:
        config: the section.
        drop_invalid_boxes: what that setting mends is listed, but not as fatal.

    Raises:
        DataError: a file cannot be read at all.
    """
    found: dict[Path, list[Fault]] = {}
    for files in open_images_files(config).values():
        found |= check_open_images(files)
    if not drop_invalid_boxes:
        return found
    return {
        path: [replace(one, fatal=False) if one.droppable else one for one in faults]
        for path, faults in found.items()
    }


def _resolve(config: OpenImagesConfig, split: OpenImagesSplitConfig) -> OpenImagesFiles:
    root = config.root
    return OpenImagesFiles(
        boxes=root / split.boxes,
        classes=root / config.classes,
        labels=root / split.labels if split.labels else None,
        hierarchy=root / config.hierarchy if config.hierarchy else None,
        sizes=root / split.sizes if split.sizes else None,
        image_folders=tuple(root / folder for folder in split.images),
    )
