"""The images of several data sets, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from dense_lt.data.batching import Prepared
from dense_lt.data.categories import CategoryTable
from dense_lt.data.dataset import DetectionDataset
from dense_lt.data.mixture.classes import negatives_of
from dense_lt.data.sampling import Draw
from dense_lt.data.table import AnnotationTable, Names, Ragged, offsets_of
from dense_lt.data.transforms import Annotated
from dense_lt.structures import ImageInfo


class ConcatenatedDataset(DetectionDataset):
    """The images of several data sets, one after the other; each is read and changed as its own.

    Args:
        parts: data sets with one class table.
        categories: that table.
        weights: shares of the training stream; None gives every image its turn.
    """

    def __init__(
        self,
        parts: Sequence[DetectionDataset],
        categories: CategoryTable,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.parts = tuple(parts)
        self.weights = weights
        self.table = concatenate_tables([part.table for part in parts], len(categories))
        self.categories = categories
        self.missing_names = [name for part in parts for name in part.missing_names]
        self.shared = [own for part in parts for own in part.shared]
        self.missing = "\n".join(part.missing for part in parts if part.missing) or None
        self._firsts = np.array(list(accumulate(map(len, parts), initial=0)))

    def prepare(self, draw: Draw) -> Prepared:
        """A sample, from the data set that the image belongs to."""
        part, index = self._find(draw.index)
        return part.prepare(replace(draw, index=index))

    def raw(self, index: int) -> Annotated:
        """An image as on disk with all its objects."""
        part, index = self._find(index)
        return part.raw(index)

    def info(self, index: int, *, input_size: tuple[int, int]) -> ImageInfo:
        """What the metric must know of an image."""
        part, index = self._find(index)
        return part.info(index, input_size=input_size)

    def read_image(self, index: int) -> np.ndarray:
        """Pixels of an image: (H, W, 3) uint8, RGB; do not write into them."""
        part, index = self._find(index)
        return part.read_image(index)

    @property
    def doubt(self) -> str | None:
        """About the first image met whose EXIF mark its size does not judge."""
        return next((part.doubt for part in self.parts if part.doubt), None)

    def _find(self, index: int) -> tuple[DetectionDataset, int]:
        number = int(np.searchsorted(self._firsts, index, side="right")) - 1
        return self.parts[number], index - int(self._firsts[number])


def concatenate_tables(tables: Sequence[AnnotationTable], num_classes: int) -> AnnotationTable:
    """What sampling needs to know of several tables; outlines and paths stay in the parts."""
    first = tables[0]
    joined = {
        name: np.concatenate([getattr(table, name) for table in tables])
        for name in (
            *("image_ids", "heights", "widths", "annotation_ids"),
            *("boxes", "labels", "areas", "crowd"),
        )
    }
    judged = any(table.negatives is not None for table in tables)
    lengths = np.concatenate([np.diff(table.offsets) for table in tables])
    return replace(
        first,
        **joined,
        source=" + ".join(table.source for table in tables),
        file_names=Names(_join([table.file_names.encoded for table in tables])),
        url_names=Names(_join([table.url_names.encoded for table in tables])),
        offsets=offsets_of(lengths),
        negatives=_join([negatives_of(one, num_classes) for one in tables]) if judged else None,
        not_exhaustive=_join([table.not_exhaustive for table in tables]),
        segmentations=None,
        flags=None,
    )


def _join(parts: Sequence[Ragged]) -> Ragged:
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    values = np.concatenate([part.values[: part.offsets[-1]] for part in parts])
    return Ragged(values, offsets_of(lengths))
