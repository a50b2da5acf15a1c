"""What is there to be found? Annotations as columns, in the metric's precision.

Training reads the same files into `data/table.py`; here boxes stay float64 xywh, because
the metric must equal the official packages to the last bit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.categories import CategoryTable, frequency_group
from dense_lt.evaluation.masks import PackedMasks
from dense_lt.utils.errors import DataError

TABLE_SIZE = 1 << 21
"""Ids that span no more than this are looked up in a table."""

Cells = tuple[NDArray[np.int64], NDArray[np.int64]]
"""(image, category) pairs as two arrays of indices."""


@dataclass(frozen=True)
class GroundTruth:
    """Annotations of I images and C categories as columns over G objects.

    `image` and `category` hold indices into `image_ids` and `category_ids`, which rise. Annotation
    ids are not kept: nothing depends on them, so an id of 0 is as good as any.
    """

    source: str
    """The file, for messages."""
    image_ids: NDArray[np.int64]  # (I,)
    image_sizes: NDArray[np.int32]  # (I, 2) height, width; 0 where the file does not say
    category_ids: NDArray[np.int64]  # (C,)
    names: tuple[str, ...]
    groups: tuple[str, ...] | None
    """Frequency group of each category in the training set; None if nobody said."""
    train_images: tuple[int, ...] | None
    train_instances: tuple[int, ...] | None
    image: NDArray[np.int32]  # (G,)
    category: NDArray[np.int32]  # (G,)
    boxes: NDArray[np.float64]  # (G, 4) xywh
    areas: NDArray[np.float64]  # (G,)
    ignore: NDArray[np.bool_]  # (G,) LVIS's flag
    crowd: NDArray[np.bool_]  # (G,) COCO's flag
    masks: PackedMasks | None
    negatives: Cells | None
    """Categories verified to be absent; None: every category was looked for in every image."""
    not_exhaustive: Cells
    """Categories of which an image may hold more objects than are annotated."""
    notes: tuple[str, ...] = ()

    @cached_property  # every protocol and every evaluation of a run asks for it
    def digest(self) -> str:
        """Equal for the same images, categories, objects and lists of what was looked for.

        In whatever order a file has them.
        """
        objects = (self.areas, *self.boxes.T, self.crowd, self.ignore, self.category, self.image)
        order = np.lexsort(objects)
        columns = [self.image_ids, self.category_ids, *(own[order] for own in objects)]
        for cells in (self.negatives, self.not_exhaustive):
            if cells is not None:
                columns.append(np.sort(cells[0].astype(np.int64) * len(self.names) + cells[1]))
        found = hashlib.sha256(repr((self.names, self.negatives is None)).encode())
        for column in columns:
            found.update(np.ascontiguousarray(column).tobytes())
        return found.hexdigest()[:16]

    def labels_in_group(self, group: str) -> NDArray[np.int64]:
        """Indices of the categories in `group`; none when the groups are not known."""
        own = self.groups or ()
        return np.array([index for index, name in enumerate(own) if name == group], dtype=np.int64)

    def only_images(self, image_ids: NDArray[np.int64]) -> GroundTruth:
        """The images whose id is among `image_ids`, with their annotations."""
        indices = np.flatnonzero(np.isin(self.image_ids, image_ids))
        new_index = np.full(len(self.image_ids), -1)
        new_index[indices] = np.arange(len(indices))
        image = new_index[self.image]
        kept = np.flatnonzero(image >= 0)
        return replace(
            self,
            image_ids=self.image_ids[indices],
            image_sizes=self.image_sizes[indices],
            image=image[kept].astype(np.int32),
            category=self.category[kept],
            boxes=self.boxes[kept],
            areas=self.areas[kept],
            ignore=self.ignore[kept],
            crowd=self.crowd[kept],
            masks=None if self.masks is None else self.masks.select(kept),
            negatives=None if self.negatives is None else _select_cells(self.negatives, new_index),
            not_exhaustive=_select_cells(self.not_exhaustive, new_index),
        )

    def with_training_counts(self, table: CategoryTable) -> GroundTruth:
        """The same with names' groups and counts from the training set's `table`.

        A category that the table lacks was in no training image: it counts as rare.

        Raises:
            DataError: an id has another name there.
        """
        label_of = table.label_of()
        labels = [label_of.get(int(category_id)) for category_id in self.category_ids]
        for category_id, name, label in zip(self.category_ids, self.names, labels, strict=True):
            other = name if label is None else table.names[label]
            if other != name and name != str(category_id):  # as in a file without names
                raise DataError(
                    f"{self.source}: category {category_id} is {name!r}, but {other!r} in the "
                    "training set; give the training annotations or the table of categories that "
                    "belong to this ground truth"
                )
        unknown = sum(label is None for label in labels)
        if unknown == len(labels) > 0:
            raise DataError(
                f"{self.source}: none of its {unknown} category ids is in the training set; give "
                "the training annotations or the table of categories that belong to this ground "
                "truth"
            )
        note = f"{unknown} categories are not in the training set; they count as rare"
        return replace(
            self,
            groups=tuple(frequency_group(0) if k is None else table.groups[k] for k in labels),
            train_images=tuple(0 if k is None else table.image_counts[k] for k in labels),
            train_instances=tuple(0 if k is None else table.instance_counts[k] for k in labels),
            notes=(
                *(n for n in self.notes if "`frequency`" not in n),
                *([note] if unknown else []),
            ),
        )


def _select_cells(cells: Cells, new_index: NDArray[np.int64]) -> Cells:
    image = new_index[cells[0]]
    return image[image >= 0], cells[1][image >= 0]


def look_up(
    rising: NDArray[np.int64], wanted: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Index of each of `wanted` in `rising`, and whether it is there at all.

    Where ids are close together, as in all published data sets, a table is ten times faster than a
    search.
    """
    if not len(rising):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    span = int(rising[-1] - rising[0]) + 1
    if span > TABLE_SIZE:
        index = np.minimum(np.searchsorted(rising, wanted), len(rising) - 1)
        return index, rising[index] == wanted
    table = np.full(span, -1)
    table[rising - rising[0]] = np.arange(len(rising))
    index = table[np.clip(wanted - rising[0], 0, span - 1)]
    known = (index >= 0) & (wanted >= rising[0]) & (wanted <= rising[-1])
    return np.where(known, index, 0), known
