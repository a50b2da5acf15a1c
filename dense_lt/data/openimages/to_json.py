"""Annotation table of Open Images -> a JSON file in the format of LVIS.

Beside LVIS's fields it holds what other programs look for: `pos_category_ids` and `freebase_id`
(as in Detic's files), and the flags of every box under the names of the CSV files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tqdm import tqdm

from dense_lt.data.categories import CategoryTable
from dense_lt.data.openimages.flags import FLAGS, unpack_flag
from dense_lt.data.table import AnnotationTable

FREQUENCIES = {"rare": "r", "common": "c", "frequent": "f"}

DIGITS = 5
"""Decimals of a pixel: enough to give back six decimals of a fraction of 4,000 pixels."""

IMAGES = 10_000
"""Images that are written at once."""


def write_json(
    table: AnnotationTable, categories: CategoryTable, path: Path, *, training: bool
) -> None:
    """Write a file piece by piece; ids of categories, images and annotations begin with 1.

    Group-of boxes that the table holds as crowd regions get `iscrowd` 1. Lists of verified classes
    are left out where the table has none, which readers take for "every class was checked".

    Args:
        table: of `read_open_images`.
        categories: its classes.
        path: of the file; what was there before is replaced when the new one is whole.
        training: whether counts and frequencies of the classes, which are those of this split, are
            written: scoring must never take those of a validation split for training counts.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write('{\n"categories": [\n')
            _write(file, _categories(categories, training=training))
            file.write('\n],\n"images": [\n')
            _write(file, _images(table))
            file.write('\n],\n"annotations": [\n')
            _write(file, _annotations(table))
            file.write("\n]\n}\n")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _write(file: TextIO, records: Iterator[dict[str, Any]]) -> None:
    between = ""
    for record in records:
        file.write(between + json.dumps(record, separators=(",", ":")))
        between = ",\n"


def _categories(categories: CategoryTable, *, training: bool) -> Iterator[dict[str, Any]]:
    for label, (number, name) in enumerate(zip(categories.file_ids, categories.names, strict=True)):
        record = {"id": number, "name": name, "freebase_id": categories.dataset_ids[label]}
        if training:
            record["image_count"] = categories.image_counts[label]
            record["instance_count"] = categories.instance_counts[label]
            record["frequency"] = FREQUENCIES[categories.groups[label]]
        yield record


def _images(table: AnnotationTable) -> Iterator[dict[str, Any]]:
    for index in range(len(table)):
        image = table.image(index)
        record: dict[str, Any] = {
            "id": image.image_id,
            "file_name": image.file_name,
            "width": image.width,
            "height": image.height,
        }
        if table.negatives is not None:
            partly = table.not_exhaustive[index].tolist()
            present = sorted({*partly, *image.labels.tolist()})
            record["neg_category_ids"] = [1 + label for label in table.negatives[index].tolist()]
            record["pos_category_ids"] = [1 + label for label in present]
            record["not_exhaustive_category_ids"] = [1 + label for label in partly]
        yield record


def _annotations(table: AnnotationTable) -> Iterator[dict[str, Any]]:
    assert table.flags is not None, "the table is of Open Images"
    flags = {name: unpack_flag(table.flags, name) for name in FLAGS}
    flags = {n: own for n, own in flags.items() if n == "IsGroupOf" or (own != -1).any()}
    with tqdm(total=table.num_instances, desc="boxes", unit="box", unit_scale=True, delay=2) as bar:
        for first in range(0, len(table), IMAGES):
            last = min(first + IMAGES, len(table))
            own = slice(int(table.offsets[first]), int(table.offsets[last]))
            counts = np.diff(table.offsets[first : last + 1])
            owner = np.repeat(table.image_ids[first:last], counts).tolist()
            corners = table.boxes[own].astype(np.float64)
            corners[:, 2:] -= corners[:, :2]
            columns = [
                table.annotation_ids[own].tolist(),
                owner,
                (table.labels[own] + 1).tolist(),
                corners.round(DIGITS).tolist(),
                table.areas[own].round(2).tolist(),
                table.crowd[own].astype(int).tolist(),
                *(values[own].tolist() for values in flags.values()),
            ]
            keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", *flags)
            for values in zip(*columns, strict=True):
                yield dict(zip(keys, values, strict=True))
            bar.update(len(owner))
