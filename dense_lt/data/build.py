"""Data section -> annotation files, data sets and loaders."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, assert_never

import numpy as np

from dense_lt.config.data import (
    DataConfig,
    DrawnConfig,
    JsonDatasetConfig,
    MixtureConfig,
    SplitConfig,
)
from dense_lt.config.openimages import OpenImagesConfig
from dense_lt.data.augment.build import (
    build_mixing,
    build_transform,
    mixed_until,
    needs_outlines,
)
from dense_lt.data.categories import CategoryTable
from dense_lt.data.dataset import DetectionDataset, MissingImages
from dense_lt.data.drawn.build import annotation_paths, ensure_drawn
from dense_lt.data.files import SplitFiles, check_paths
from dense_lt.data.loading import BatchLoader
from dense_lt.data.mixture.build import Adapt, build_mixture
from dense_lt.data.openimages.build import find_open_images, read_split
from dense_lt.data.order.build import build_order
from dense_lt.data.sampling import BatchSampler, Draw
from dense_lt.data.store import cache_folder, read_once
from dense_lt.data.table import AnnotationTable
from dense_lt.utils.distributed import barrier, is_main

MIB = 1 << 20


class DataSplits(NamedTuple):
    """The data sets asked for, and the classes they share."""

    train: DetectionDataset | None
    val: DetectionDataset | None
    categories: CategoryTable


def annotation_files(config: DataConfig) -> dict[str, Path]:
    """Annotation file of "train" and "val"; the drawn set is drawn if it is missing.

    Those of a mixture are the ones of its first part.

    In a run of several processes every one of them must ask.

    Raises:
        DataError: the folder of the drawn set holds something else.
    """
    return {name: split.annotations for name, split in _find_files(config).items()}


def build_datasets(
    config: DataConfig,
    *,
    seed: int,
    categories: CategoryTable | None = None,
    splits: Sequence[str] = ("train", "val"),
    masks: bool = False,
) -> DataSplits:
    """Read annotations, find images, and put the splits together.

    In a run of several processes every one of them must ask: the main one draws and reads first.

    Args:
        config: data section.
        seed: of augmentation.
        categories: those a checkpoint was trained with; None reads them from the training file,
            which is then read even when only "val" is asked for.
        splits: which to build.
        masks: whether targets have masks.

    Raises:
        DataError: a file has faults, categories differ, or images are missing (unless they are to
            be skipped).
        ConfigError: an albumentations transform does not exist or refuses its arguments.
    """
    if isinstance(config.dataset, MixtureConfig):
        build_part = partial(_build_splits, seed=seed, masks=masks)
        built = build_mixture(
            config, config.dataset, build_part, categories=categories, splits=splits
        )
        return DataSplits(*built)
    return _build_splits(config, seed=seed, categories=categories, splits=splits, masks=masks)


def _build_splits(
    config: DataConfig,
    *,
    seed: int,
    categories: CategoryTable | None,
    splits: Sequence[str],
    masks: bool,
    adapt: Adapt | None = None,
) -> DataSplits:
    """As above, of one data set; `adapt` changes table and classes before it is made."""
    sections = {"train": config.train_transforms, "val": config.val_transforms}
    transforms = {name: build_transform(section) for name, section in sections.items()}
    outlines = {name: masks or needs_outlines(section) for name, section in sections.items()}
    files = _find_files(config)
    read = [name for name in files if name in splits or (name == "train" and categories is None)]
    for name in read:
        check_paths(files[name], images=name in splits)
    built: dict[str, DetectionDataset] = {}
    for name in read:
        table, categories = _read(
            name,
            files[name].annotations,
            config,
            categories,
            masks=outlines[name] and name in splits,
        )
        if adapt is not None:
            table, categories = adapt(table, categories)
        if name in splits:
            if name == "train" and config.train_empty_images == "drop":
                table = table.annotated()
            built[name] = DetectionDataset(
                table,
                categories,
                files[name].image_folders,
                transforms[name],
                seed=seed,
                masks=outlines[name],
                ignore_crowds=config.ignore_crowds,
                missing_images=_about_missing(name, config),
                max_objects=config.max_objects_per_image if name == "train" else None,
                cache_bytes=config.cache_images_mb * MIB,
                decode_short_side=config.decode_short_side,
                exif=config.exif,
            )
            built[name].mixer = build_mixing(
                sections[name], built[name].table, len(categories), outlines=masks
            )
    assert categories is not None, "no split was asked for"
    return DataSplits(built.get("train"), built.get("val"), categories)


def build_train_loader(
    dataset: DetectionDataset,
    config: DataConfig,
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    samples: int | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> BatchLoader:
    """Endless batches for training.

    Args:
        dataset: training split.
        config: data section.
        batch_size: images of one batch in this process.
        seed: of the order.
        start: samples that were consumed before, over all processes.
        samples: of the whole run, over all processes; None: the end is not known.
        rank: number of this process.
        world_size: number of processes.
    """
    order = build_order(dataset, config, seed=seed, batch_size=batch_size)
    batches = BatchSampler(
        order,
        batch_size=batch_size,
        start=start,
        rank=rank,
        world_size=world_size,
        mixed_until=mixed_until(config.train_transforms, order.mean_length(), samples),
    )
    return BatchLoader(
        dataset,
        batches,
        workers=config.workers,
        bad_images="error" if config.on_bad_image == "error" else "replace",
        seed=seed,
        multiple_of=config.pad_to_multiple_of,
        prefetch=config.prefetch_batches,
    )


def build_val_loader(
    dataset: DetectionDataset,
    config: DataConfig,
    *,
    batch_size: int,
    images: int | None = None,
    done: Collection[int] = (),
    rank: int = 0,
    world_size: int = 1,
) -> BatchLoader:
    """Every image once over all processes, in the order of the file; the last batch may be small.

    Args:
        dataset: validation split.
        config: data section.
        batch_size: images of one batch in this process.
        images: stop after the first so many of the data set; None takes all.
        done: ids of images that are left out, because they have been predicted before.
        rank: number of this process.
        world_size: number of processes.
    """
    ids = dataset.table.image_ids[: images or len(dataset)]
    indices = np.flatnonzero(~np.isin(ids, list(done)))[rank::world_size].tolist()
    batches = [
        [Draw(index, index) for index in indices[first : first + batch_size]]
        for first in range(0, len(indices), batch_size)
    ]
    return BatchLoader(
        dataset,
        batches,
        workers=config.workers,
        bad_images="error" if config.on_bad_image == "error" else "leave_out",
        multiple_of=config.pad_to_multiple_of,
        prefetch=config.prefetch_batches,
    )


def steps_per_epoch(dataset: DetectionDataset, config: DataConfig, batch_size: int) -> float:
    """Optimizer steps of the sampler's epoch, which repeat factors make longer than the data set.

    Args:
        dataset: training split.
        config: data section.
        batch_size: images per step, over all processes.
    """
    order = build_order(dataset, config, seed=0, batch_size=1)
    return order.mean_length() / batch_size


def _find_files(config: DataConfig) -> dict[str, SplitFiles]:
    match config.dataset:
        case DrawnConfig() as drawn:
            folder = _draw_once(drawn)
            paths = annotation_paths(folder)
            return {name: SplitFiles(path, (folder,)) for name, path in paths.items()}
        case JsonDatasetConfig(root=root, train=train, val=val):
            return {"train": _resolve(root, train), "val": _resolve(root, val)}
        case OpenImagesConfig() as open_images:
            return find_open_images(open_images)
        case MixtureConfig(parts=parts):
            return _find_files(config.model_copy(update={"dataset": parts[0].dataset}))
        case _:
            assert_never(config.dataset)


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


def _read(
    name: str, path: Path, config: DataConfig, categories: CategoryTable | None, *, masks: bool
) -> tuple[AnnotationTable, CategoryTable]:
    if not is_main():
        barrier()  # the main process reads a large file first; the others find what it kept
    folder = cache_folder(config.cache_annotations)
    drop = config.drop_invalid_boxes
    try:
        if isinstance(config.dataset, OpenImagesConfig):
            return read_split(
                config.dataset, name, folder, categories=categories, drop_invalid_boxes=drop
            )
        return read_once(
            path,
            folder,
            categories=categories,
            thresholds=config.group_thresholds,
            masks=masks,
            drop_invalid_boxes=drop,
            **({"skip_bad_masks": True} if masks and config.on_bad_image == "skip" else {}),
        )
    finally:
        if is_main():
            barrier()


def _about_missing(split: str, config: DataConfig) -> MissingImages:
    if config.on_bad_image == "error":
        return "error"
    return "leave_out" if split == "train" else "keep"
