"""One split as samples: image, boxes, labels and masks, ready for batching."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch

from dense_lt.data.batching import Prepared, to_masks
from dense_lt.data.categories import CategoryTable
from dense_lt.data.images import BadImageError, ExifRule, read_image
from dense_lt.data.locating import describe_missing, describe_shared, locate_images, shared_files
from dense_lt.data.outlines import Outlines
from dense_lt.data.sampling import Draw, chance_at
from dense_lt.data.table import AnnotationTable, Names
from dense_lt.data.transforms import Annotated, Transform, scale_objects, write_planes
from dense_lt.ops.matching import IGNORE
from dense_lt.structures import ImageInfo, Sample, Target
from dense_lt.utils.errors import DataError

logger = logging.getLogger(__name__)

SUBSET, MIX, STEP = 1, 2, 3
"""Last part of a random key: which objects of a crowded image are used; what is mixed in; what is
equal for all samples of an optimizer step."""


MissingImages = Literal["error", "keep", "leave_out"]
"""What to do about images that are not there: stop; say so and keep them, each bad when it is asked
for (validation); say so and have a data set of the others (training)."""


class Mixer(Protocol):
    """Makes one sample of several: mosaic, mixup, copy-paste."""

    def __call__(
        self, dataset: DetectionDataset, sample: Annotated, draw: Draw, rng: np.random.Generator
    ) -> Annotated:
        """Change `sample`, before the transforms; `dataset.raw(index)` gives further ones.

        Args:
            dataset: where `sample` comes from.
            sample: as on disk.
            draw: its image and its position in the stream; what changes in the course of training
                must depend on the position alone.
            rng: for everything random; seeded by seed, position and image, so that a run is the
                same for any number of processes and after resuming, and that the image that takes
                a bad one's place meets other partners.
        """
        ...


class DetectionDataset:
    """Images and annotations of one split.

    Regions marked as crowds are never objects to learn: they pass through mixing and transforms as
    objects with the label IGNORE, and become `Target["ignored"]`. Scoring treats them by itself.

    Args:
        table: annotations.
        categories: the C classes.
        image_folders: where images are looked for, first to last.
        transform: from the image on disk to the network's input.
        mixer: makes a sample of several, before `transform`; None takes each image alone.
        seed: augmentation of a sample depends on it and on the sample's position alone.
        masks: whether targets have masks; `table` must hold segmentations.
        ignore_crowds: whether samples have crowd regions; without, these are background.
        missing_images: what to do about images that are in none of the folders.
        max_objects: more objects than this in an image: a random subset is used.
        cache_bytes: keep decoded images in memory if all fit into so many bytes.
        decode_short_side: decode large JPEG files smaller, while the shorter side keeps so many
            pixels; None decodes whole images.
        exif: whether pixels are turned by a camera's mark.

    Attributes:
        table: of the images that the data set has.
        mixer: as given; may be set later, when it needs that table.
        missing: a message about images that were not found, None: all were; `missing_names`: all.
        shared: files that were found for more than one image.

    Raises:
        DataError: images are missing, and that is an error, or all are.
    """

    def __init__(  # noqa: PLR0913
        self,
        table: AnnotationTable,
        categories: CategoryTable,
        image_folders: Sequence[Path],
        transform: Transform,
        *,
        seed: int,
        mixer: Mixer | None = None,
        masks: bool = False,
        ignore_crowds: bool = True,
        missing_images: MissingImages = "keep",
        max_objects: int | None = None,
        cache_bytes: int = 0,
        decode_short_side: int | None = None,
        exif: ExifRule = "as_annotated",
    ) -> None:
        self.categories = categories
        self.mixer = mixer
        paths = locate_images(table, image_folders)
        self.missing = describe_missing(table, image_folders, paths)
        self.missing_names = [table.file_names[i] for i, path in enumerate(paths) if path is None]
        self.shared = shared_files(table, paths)
        if self.shared:
            logger.warning("%s", describe_shared(table.source, self.shared))
        if self.missing is not None:
            table, paths = _settle_missing(table, paths, self.missing, missing_images)
        self.table = table
        self._paths = Names(str(path) if path else "" for path in paths)
        self._transform = transform
        self._seed = seed
        self._masks = masks
        self._ignore_crowds = ignore_crowds
        self._max_objects = max_objects
        self._decode_short_side = decode_short_side
        self._exif: ExifRule = exif
        self._doubts: list[str] = []
        total = 3 * int((table.heights.astype(np.int64) * table.widths).sum())
        self._cache: dict[int, np.ndarray] | None = {} if total <= cache_bytes else None
        if max_objects is not None and (np.diff(table.offsets) > max_objects).any():
            logger.info(
                "%s: %d images have more than %d objects; a random subset is used each time",
                table.source,
                int((np.diff(table.offsets) > max_objects).sum()),
                max_objects,
            )

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, item: int | Draw) -> Sample:
        """The sample of an image; a `Draw` also says which augmentation it gets.

        Raises:
            BadImageError: the image is missing, unreadable, or of another size than annotated.
        """
        draw = item if isinstance(item, Draw) else Draw(item, item)
        sample, target, info = self.prepare(draw)
        planes = np.empty((3, *sample.size), dtype=np.uint8)
        write_planes(sample, planes)
        return {"image": torch.from_numpy(planes), "target": target, "info": info}

    def prepare(self, draw: Draw) -> Prepared:
        """A sample whose image is written where it is needed: see `collate`.

        Raises:
            BadImageError: as for a sample.
        """
        sample = self._load(draw.index, self._objects(draw))
        if self.mixer is not None:
            rng = np.random.default_rng((self._seed, draw.position, draw.index, MIX))
            sample = self.mixer(self, sample, draw, rng)
        keys = (self._seed, draw.position), (self._seed, draw.step, STEP)
        sample = self._transform.prepare(sample, *keys)
        target: Target = {**target_of(sample), "chance": chance_at(self._seed, draw.position)}
        return Prepared(sample, target, self.info(draw.index, input_size=sample.size))

    def raw(self, index: int) -> Annotated:
        """An image as on disk with all its objects, then its crowds; do not write into the pixels.

        Raises:
            BadImageError: as for a sample.
        """
        return self._load(index, self._objects_of(index))

    @property
    def doubt(self) -> str | None:
        """About the first image met whose EXIF mark its size does not judge."""
        return next(iter(self._doubts), None)

    def labels_of(self, index: int) -> frozenset[int]:
        """Classes in an image, without reading it."""
        return self.table.labels_of(index)

    def info(self, index: int, *, input_size: tuple[int, int]) -> ImageInfo:
        """What the metric must know of an image."""
        return ImageInfo(
            image_id=int(self.table.image_ids[index]),
            original_size=(int(self.table.heights[index]), int(self.table.widths[index])),
            input_size=input_size,
            negative_labels=self.table.negatives_of(index, len(self.categories)),
            not_exhaustive_labels=frozenset(self.table.not_exhaustive[index].tolist()),
        )

    def read_image(self, index: int) -> np.ndarray:
        """Pixels of an image: (H, W, 3) uint8, RGB; do not write into them.

        H and W are as annotated, or smaller where `decode_short_side` says so.

        Raises:
            BadImageError: it is missing, unreadable, or of another size than annotated.
        """
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        path = self._paths[index]
        if not path:
            raise BadImageError(
                f"{self.table.source}: image {int(self.table.image_ids[index])} "
                f"({self.table.file_names[index]}) is missing"
            )
        size = (int(self.table.heights[index]), int(self.table.widths[index]))
        pixels = read_image(
            Path(path),
            size,
            short_side=self._decode_short_side,
            exif=self._exif,
            doubt=None if self._doubts else self._doubts.append,
        )
        if self._cache is not None:
            pixels.flags.writeable = False  # what comes of it is a copy
            self._cache[index] = pixels
        return pixels

    def _load(self, index: int, objects: np.ndarray) -> Annotated:
        size = (int(self.table.heights[index]), int(self.table.widths[index]))
        checked = self.table.checked_in(index, len(self.categories))
        if checked is not None and self._max_objects is not None:
            left_out = np.setdiff1d(self._objects_of(index), objects)
            checked[self.table.labels[left_out]] = False  # there, but not to be learnt this time
        crowds = self._crowds_of(index)
        image = self.read_image(index)
        sample = Annotated(
            image=image,
            boxes=self.table.boxes[np.append(objects, crowds)],
            labels=np.append(
                self.table.labels[objects].astype(np.int64), np.full(len(crowds), IGNORE)
            ),
            masks=self._outlines(objects, len(crowds), size) if self._masks else None,
            checked=checked,
        )
        return sample if image.shape[:2] == size else scale_objects(sample, size)

    def _objects_of(self, index: int) -> np.ndarray:
        """Instances of the table that are learnt from an image."""
        first, last = self.table.offsets[index], self.table.offsets[index + 1]
        return np.arange(first, last)[~self.table.crowd[first:last]]

    def _crowds_of(self, index: int) -> np.ndarray:
        """Regions of the table in which nothing is learnt as background."""
        if not self._ignore_crowds:
            return np.zeros(0, dtype=np.int64)
        first, last = self.table.offsets[index], self.table.offsets[index + 1]
        return np.arange(first, last)[self.table.crowd[first:last]]

    def _objects(self, draw: Draw) -> np.ndarray:
        """Those instances, or a random subset of them."""
        objects = self._objects_of(draw.index)
        if self._max_objects is None or len(objects) <= self._max_objects:
            return objects
        generator = np.random.default_rng((self._seed, draw.position, SUBSET))
        return np.sort(generator.choice(objects, self._max_objects, replace=False))

    def _outlines(self, objects: np.ndarray, crowds: int, size: tuple[int, int]) -> Outlines:
        """Of `objects`; the `crowds` after them have none, only their boxes are of use."""
        segmentations = [self.table.segmentation(int(i)) for i in objects]
        return Outlines.from_segmentations([*segmentations, *[None] * crowds], size)


def _settle_missing(
    table: AnnotationTable, paths: list[Path | None], missing: str, action: MissingImages
) -> tuple[AnnotationTable, list[Path | None]]:
    """What is left of a data set when images are missing."""
    found = [index for index, path in enumerate(paths) if path is not None]
    if action == "error":
        raise DataError(f"{missing}, or data.on_bad_image=skip to go on without them")
    if action == "keep":
        logger.warning("%s. Those missing are skipped", missing)
        return table, paths
    if not found:
        raise DataError(missing)
    logger.warning("%s. Training goes on with the other %s images", missing, f"{len(found):,}")
    return table.select(found), [paths[index] for index in found]


def target_of(sample: Annotated) -> Target:
    """The objects of a sample as tensors, its crowd regions apart."""
    crowds = sample.labels == IGNORE
    regions = sample.boxes[crowds]
    if len(regions):
        sample = sample.take(np.flatnonzero(~crowds))
    target: Target = {
        "boxes": torch.from_numpy(sample.boxes.copy(order="C")),
        "labels": torch.from_numpy(sample.labels),
    }
    if len(regions):
        target["ignored"] = torch.from_numpy(regions)
    if sample.masks is not None:
        target["masks"] = to_masks(sample.masks)
    if sample.checked is not None:
        target["checked"] = torch.from_numpy(sample.checked)
    return target
