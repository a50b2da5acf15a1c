"""Annotation tables made in memory, from nothing but the classes of each image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dense_lt.data.table import AnnotationTable, Names, Ragged, offsets_of


def table_of(labels: Sequence[Sequence[int]], *, source: str = "a.json") -> AnnotationTable:
    """Images with one object, as large as the image, for every label of theirs."""
    images = len(labels)
    flat = np.array([label for one in labels for label in one], dtype=np.int32)
    return AnnotationTable(
        source=source,
        image_ids=np.arange(images),
        heights=np.ones(images, np.int32),
        widths=np.ones(images, np.int32),
        file_names=Names([f"{index}.png" for index in range(images)]),
        url_names=Names([""] * images),
        offsets=offsets_of([len(one) for one in labels]),
        annotation_ids=np.arange(len(flat)),
        boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (len(flat), 1)),
        labels=flat,
        areas=np.ones(len(flat)),
        crowd=np.zeros(len(flat), bool),
        negatives=None,
        not_exhaustive=Ragged.from_lists([[]] * images),
    )
