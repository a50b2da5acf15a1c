"""Rows of boxes and labels, sizes and relations -> one annotation table."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.openimages.cells import Cells, Relations, to_lists, verify
from dense_lt.data.openimages.flags import is_group_of
from dense_lt.data.openimages.hierarchy import expand_classes
from dense_lt.data.openimages.rows import BoxRows, LabelRows
from dense_lt.data.openimages.sizes import SUFFIX, Sizes
from dense_lt.data.table import AnnotationTable, Names, Ragged

logger = logging.getLogger(__name__)

NOMINAL = 1024
"""Side of an image whose size nobody knows, pixels: its boxes keep their place relative to it."""

BLOCK = 1_000_000
"""Boxes that are scaled at once."""

IMAGES = 50_000
"""Images whose verified labels are put together at once."""


@dataclass(frozen=True)
class Options:
    """How the files become objects to learn."""

    group_of: Literal["ignore", "use", "drop"] = "ignore"
    """Boxes around many objects: crowd regions, ordinary objects, or nothing."""
    expand_boxes: bool = False
    """Copy every box to all ancestors of its class."""
    expand_labels: bool = True
    """What is present holds for all ancestors, what is absent for all descendants."""
    images_without_boxes: bool = True
    """Keep images of which no box is left."""


@dataclass(frozen=True)
class Images:
    """The I images of a split, and to which of them rows belong."""

    names: NDArray[np.bytes_]  # (I,) rising
    of_boxes: NDArray[np.int32]  # (N,)
    of_labels: NDArray[np.int32] | None  # (K,)


def build_table(
    source: str,
    boxes: BoxRows,
    labels: LabelRows | None,
    images: Images,
    sizes: Sizes,
    relations: Relations,
    options: Options,
) -> AnnotationTable:
    """Images in the order of their names, boxes image by image in the order of the file.

    `negatives` holds verified absent classes, and is None without labels. A class that is present
    but not boxed object by object (a group, a verified label without a box, an ancestor of a boxed
    class) is in `not_exhaustive`.
    """
    group = is_group_of(boxes.flags)
    rows = np.flatnonzero(~group) if options.group_of == "drop" else np.arange(len(group))
    rows = rows[np.argsort(images.of_boxes[rows], kind="stable")]
    kept = np.arange(len(images.names))
    if not options.images_without_boxes:
        kept = np.unique(images.of_boxes[rows]).astype(np.int64)
    negatives, not_exhaustive = _verify(boxes, labels, images, kept, relations, options)
    labels_column = boxes.category[rows]
    if options.expand_boxes:
        copies, labels_column = expand_classes(labels_column, relations.ancestors)
        rows = rows[copies]
    heights, widths = _known(source, images, sizes, kept)
    place = np.searchsorted(kept, images.of_boxes[rows]).astype(np.int32)
    scaled, areas = _scale(boxes.corners, rows, place, heights, widths)
    names = [name.decode() + SUFFIX for name in images.names[kept].tolist()]
    return AnnotationTable(
        source=source,
        image_ids=np.arange(1, len(kept) + 1),
        heights=heights,
        widths=widths,
        file_names=Names(names),
        url_names=_no_names(len(kept)),
        offsets=np.searchsorted(place, np.arange(len(kept) + 1)),
        annotation_ids=np.arange(1, len(rows) + 1),
        boxes=scaled,
        labels=labels_column.astype(np.int32),
        areas=areas,
        crowd=group[rows] & (options.group_of == "ignore"),
        negatives=negatives,
        not_exhaustive=not_exhaustive,
        flags=boxes.flags[rows],
    )


def _verify(
    boxes: BoxRows,
    labels: LabelRows | None,
    images: Images,
    kept: NDArray[np.int64],
    relations: Relations,
    options: Options,
) -> tuple[Ragged | None, Ragged]:
    """Verified absent, and not exhaustively boxed classes of the `kept` images.

    Some thousand images at a time: a hierarchy makes ten of one absent class.
    """
    learnt = ~is_group_of(boxes.flags) | (options.group_of == "use")
    box_rows = _Rows(images.of_boxes, boxes.category, learnt)
    label_rows = None
    if labels is not None and images.of_labels is not None:
        label_rows = _Rows(images.of_labels, labels.category, labels.present)
    negatives, not_exhaustive = _Lists(), _Lists()
    for start in range(0, len(kept), IMAGES):
        own = kept[start : start + IMAGES]
        verified = verify(
            *box_rows.cells(own, relations),
            label_rows and label_rows.cells(own, relations),
            relations,
            expand_boxes=options.expand_boxes,
            expand_labels=options.expand_labels,
        )
        if verified.negatives is not None:
            negatives.add(to_lists(verified.negatives, relations.num_classes, own))
        not_exhaustive.add(to_lists(verified.not_exhaustive, relations.num_classes, own))
    return None if labels is None else negatives.ragged(), not_exhaustive.ragged()


class _Rows:
    """Rows of a file by image; of two kinds, those that are chosen and the others."""

    def __init__(
        self, image: NDArray[np.int32], category: NDArray[np.int16], chosen: NDArray[np.bool_]
    ) -> None:
        self._image, self._category, self._chosen = image, category, chosen
        self._order = np.argsort(image, kind="stable")

    def cells(self, images: NDArray[np.int64], relations: Relations) -> tuple[Cells, Cells]:
        """Cells of `images`, a stretch of them, that chosen rows fill, and that others do."""
        edges = np.searchsorted(self._image, [images[0], images[-1] + 1], sorter=self._order)
        rows = self._order[slice(*edges)]
        chosen = self._chosen[rows]
        first, second = (
            relations.cells(self._image[own], self._category[own])
            for own in (rows[chosen], rows[~chosen])
        )
        return first, second


class _Lists:
    """Lists of classes as they come."""

    def __init__(self) -> None:
        self._values = [np.zeros(0, np.int16)]
        self._lengths = [np.zeros(1, np.int64)]

    def add(self, lists: tuple[NDArray[np.int16], NDArray[np.int64]]) -> None:
        self._values.append(lists[0])
        self._lengths.append(lists[1])

    def ragged(self) -> Ragged:
        return Ragged(np.concatenate(self._values), np.cumsum(np.concatenate(self._lengths)))


def _known(
    source: str, images: Images, sizes: Sizes, kept: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Heights and widths of the `kept` images, (I,) each."""
    sizes = sizes[kept]
    unknown = np.flatnonzero(sizes[:, 0] == 0)
    if len(unknown):
        logger.warning(
            "%s: the size of %s of %s images is not known (%s, ...); they count as %d x %d pixels",
            source,
            f"{len(unknown):,}",
            f"{len(kept):,}",
            ", ".join(name.decode() for name in images.names[kept[unknown[:3]]].tolist()),
            NOMINAL,
            NOMINAL,
        )
        sizes[unknown] = NOMINAL
    return sizes[:, 0].copy(), sizes[:, 1].copy()


def _scale(
    corners: NDArray[np.float32],
    rows: NDArray[np.int64],
    place: NDArray[np.int32],
    heights: NDArray[np.int32],
    widths: NDArray[np.int32],
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Boxes of `rows` in pixels (M, 4), and their areas (M,); a block at a time."""
    scaled = np.empty((len(rows), 4), np.float32)
    areas = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK):
        own = slice(start, start + BLOCK)
        sides = np.stack([widths[place[own]], heights[place[own]]], axis=1)
        pixels = corners[rows[own]] * np.tile(sides, 2).astype(np.float64)
        scaled[own] = pixels
        areas[own] = (pixels[:, 2:] - pixels[:, :2]).prod(axis=1)
    return scaled, areas


def _no_names(count: int) -> Names:
    return Names(Ragged(np.zeros(0, np.uint8), np.zeros(count + 1, np.int64)))
