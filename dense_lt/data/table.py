"""Annotations of one split in columns: flat arrays that loader processes share, not objects.

LVIS has 1.27 million instances. As Python objects they cost gigabytes, in every loader process,
because counting references copies the pages; as columns they cost their bytes once. No torch
import: scoring needs this module.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from dense_lt.data.segmentations import PackedSegmentations, Segmentation, to_runs, unpack
from dense_lt.utils.errors import BadImageError, DataError


@dataclass(frozen=True)
class Ragged:
    """Lists of different lengths, end to end: list i is `values[offsets[i]:offsets[i + 1]]`."""

    values: np.ndarray
    offsets: np.ndarray  # (number of lists + 1,) int64

    @classmethod
    def from_lists(cls, lists: Iterable[Sequence[int]]) -> Ragged:
        """Lists of integers, stored as int32."""
        held = list(lists)
        values = np.fromiter((value for one in held for value in one), dtype=np.int32)
        return cls(values, offsets_of([len(one) for one in held]))

    @classmethod
    def from_bytes(cls, pieces: Iterable[bytes]) -> Ragged:
        """Byte strings."""
        held = list(pieces)
        values = np.frombuffer(b"".join(held), dtype=np.uint8)
        return cls(values, offsets_of([len(piece) for piece in held]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.values[self.offsets[index] : self.offsets[index + 1]]


class Names:
    """Strings, end to end in one array."""

    def __init__(self, names: Iterable[str] | Ragged) -> None:
        if not isinstance(names, Ragged):
            names = Ragged.from_bytes(name.encode("utf-8", "surrogateescape") for name in names)
        self.encoded = names  # UTF-8

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> str:
        return self.encoded[index].tobytes().decode("utf-8", "surrogateescape")


class ImageAnnotations(NamedTuple):
    """What is known of one image; the arrays are views into the table. M is its instances."""

    image_id: int
    file_name: str
    height: int
    width: int
    annotation_ids: np.ndarray  # (M,) int64
    boxes: np.ndarray  # (M, 4) float32 xyxy, pixels of the image on disk
    labels: np.ndarray  # (M,) int32 in [0, C)
    areas: np.ndarray  # (M,) float64
    crowd: np.ndarray  # (M,) bool


@dataclass(frozen=True)
class AnnotationTable:
    """All annotations of one split. I images in the order of the file, M instances, image by image.

    Attributes:
        source: the file they were read from, for messages.
        negatives: labels verified to be absent, per image; None where the file does not say: then
            every class was checked in every image, as in COCO.
        segmentations: one text per instance (see `segmentation`); None where none were read.
    """

    source: str
    image_ids: np.ndarray  # (I,) int64
    heights: np.ndarray  # (I,) int32
    widths: np.ndarray  # (I,) int32
    file_names: Names  # relative, such as "train2017/000000000009.jpg"
    url_names: Names  # last two parts of `coco_url`, "" where an image has none
    offsets: np.ndarray  # (I + 1,) int64: instances of image i are [offsets[i], offsets[i + 1])
    annotation_ids: np.ndarray  # (M,) int64
    boxes: np.ndarray  # (M, 4) float32 xyxy, pixels of the image on disk, inside the image
    labels: np.ndarray  # (M,) int32 in [0, C)
    areas: np.ndarray  # (M,) float64
    crowd: np.ndarray  # (M,) bool: a region that holds many, not one object
    negatives: Ragged | None
    not_exhaustive: Ragged  # labels present of which not every instance is annotated, per image
    segmentations: PackedSegmentations | None = None
    flags: np.ndarray | None = None  # (M,) what Open Images says beside; openimages/flags.py

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def digest(self) -> str:
        """What tells apart tables of other images or instances that lie at the same path."""
        columns = (self.image_ids, self.offsets, self.boxes, self.labels, self.crowd)
        found = hashlib.sha256()
        for column in columns:
            found.update(np.ascontiguousarray(column).tobytes())
        return found.hexdigest()[:16]

    @property
    def num_instances(self) -> int:
        """M, crowds included."""
        return len(self.labels)

    def image(self, index: int) -> ImageAnnotations:
        """Everything known of one image."""
        own = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return ImageAnnotations(
            image_id=int(self.image_ids[index]),
            file_name=self.file_names[index],
            height=int(self.heights[index]),
            width=int(self.widths[index]),
            annotation_ids=self.annotation_ids[own],
            boxes=self.boxes[own],
            labels=self.labels[own],
            areas=self.areas[own],
            crowd=self.crowd[own],
        )

    def segmentation(self, instance: int) -> Segmentation:
        """Polygons or run lengths of an instance, as in the file; None where it has none.

        Raises:
            BadImageError: run lengths are of another size than their image, or do not fill it.
            DataError: what was kept of the file has been damaged since it was opened.
        """
        if self.segmentations is None:
            return None
        where = f"{self.source}: annotation {int(self.annotation_ids[instance])}"
        try:
            outline = unpack(self.segmentations[instance])
        except ValueError as error:
            raise DataError(
                f"{where}: `segmentation` cannot be decoded ({error}); start again to have the "
                "file read anew"
            ) from error
        if isinstance(outline, dict):
            image = int(np.searchsorted(self.offsets, instance, side="right")) - 1
            try:
                to_runs(outline, int(self.heights[image]), int(self.widths[image]))
            except ValueError as error:
                where = f"{where} of image {int(self.image_ids[image])}"
                raise BadImageError(f"{where}: `segmentation` cannot be used: {error}") from error
        return outline

    def labels_of(self, index: int) -> frozenset[int]:
        """Classes that have an object (not only a crowd) in an image."""
        own = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return frozenset(self.labels[own][~self.crowd[own]].tolist())

    def negatives_of(self, index: int, num_classes: int) -> frozenset[int]:
        """Classes that are known to be absent from an image."""
        if self.negatives is not None:
            return frozenset(self.negatives[index].tolist())
        own = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return frozenset(range(num_classes)).difference(self.labels[own].tolist())

    def checked_in(self, index: int, num_classes: int) -> np.ndarray | None:
        """(C,) bool: classes that were looked for in an image, every object of which is marked.

        They are present or verified to be absent, and neither listed as not exhaustive nor marked
        as a crowd. None where the file does not say: all were.
        """
        if self.negatives is None:
            return None
        own = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        labels, crowd = self.labels[own], self.crowd[own]
        checked = np.zeros(num_classes, dtype=bool)
        checked[self.negatives[index]] = True
        checked[labels] = True
        checked[labels[crowd]] = False
        checked[self.not_exhaustive[index]] = False
        return checked

    def annotated(self) -> AnnotationTable:
        """The table of the images that have an annotation, be it a crowd.

        Raises:
            DataError: none has.
        """
        if not self.num_instances:
            raise DataError(
                f"{self.source}: no image has an annotation; data.train_empty_images=keep takes "
                "images without"
            )
        return self.select(np.flatnonzero(np.diff(self.offsets)))

    def select(self, indices: Iterable[int]) -> AnnotationTable:
        """The table of some of the images, in this order."""
        chosen = [int(index) for index in indices]
        spans = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in chosen]
        own = np.concatenate([np.zeros(0, dtype=np.int64), *spans])
        negatives, packed = self.negatives, self.segmentations
        return replace(
            self,
            image_ids=self.image_ids[chosen],
            heights=self.heights[chosen],
            widths=self.widths[chosen],
            file_names=Names(self.file_names[i] for i in chosen),
            url_names=Names(self.url_names[i] for i in chosen),
            offsets=offsets_of([len(span) for span in spans]),
            annotation_ids=self.annotation_ids[own],
            boxes=self.boxes[own],
            labels=self.labels[own],
            areas=self.areas[own],
            crowd=self.crowd[own],
            negatives=negatives and Ragged.from_lists(negatives[i].tolist() for i in chosen),
            not_exhaustive=Ragged.from_lists(self.not_exhaustive[i].tolist() for i in chosen),
            segmentations=packed and packed.select(own),
            flags=None if self.flags is None else self.flags[own],
        )


def offsets_of(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Where lists of these lengths start when laid end to end, and where the last one ends."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(np.asarray(lengths, dtype=np.int64), out=offsets[1:])
    return offsets
