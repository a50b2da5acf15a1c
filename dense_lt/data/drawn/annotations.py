"""From drawn objects to an annotation file in LVIS format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask

from dense_lt.data.categories import frequency_group
from dense_lt.data.drawn.randomness import RandomStream
from dense_lt.data.drawn.render import DrawnClass, DrawnObject

coco_mask: Any = mask  # its type stubs are wrong about the counts

Record = dict[str, Any]
"""One image, annotation or category, as it stands in the file."""


class SplitWriter:
    """Collects the records of one split, image after image.

    Args:
        name: of the split, and of the folder of its images.
        first_image_id: the ids of the images count up from here.
        side: of the images, pixels.
    """

    def __init__(self, name: str, *, first_image_id: int, side: int) -> None:
        self.name = name
        self.images: list[Record] = []
        self.annotations: list[Record] = []
        self._next_id = first_image_id
        self._side = side

    def add(
        self, objects: Sequence[DrawnObject], negatives: int, classes: int, stream: RandomStream
    ) -> str:
        """Note one image and return its file name, relative to the folder of the set.

        Args:
            objects: what is in it.
            negatives: how many absent classes are listed as verified to be absent.
            classes: number of classes.
            stream: chooses the negatives.
        """
        image_id = self._next_id + len(self.images)
        file_name = f"{self.name}/{len(self.images) + 1:06d}.png"
        present = {drawn.label for drawn in objects}
        absent = [label for label in stream.permutation(classes) if label not in present]
        self.images.append(
            {
                "id": image_id,
                "width": self._side,
                "height": self._side,
                "file_name": file_name,
                "neg_category_ids": sorted(label + 1 for label in absent[:negatives]),
                "not_exhaustive_category_ids": [],
            }
        )
        for drawn in objects:
            self.annotations.append(
                {"id": len(self.annotations) + 1, "image_id": image_id, **_describe(drawn)}
            )
        return file_name

    def counts(self, classes: int) -> tuple[list[int], list[int]]:
        """Images that contain, and objects of, every class."""
        pairs = {(record["image_id"], record["category_id"]) for record in self.annotations}
        images = Counter(category for _, category in pairs)
        objects = Counter(record["category_id"] for record in self.annotations)
        ids = range(1, classes + 1)
        return [images[i] for i in ids], [objects[i] for i in ids]

    def content(self, categories: Sequence[Record]) -> Record:
        """The annotation file."""
        return {
            "info": {"description": "dense_lt drawn long-tailed data", "version": "1"},
            "licenses": [],
            "images": self.images,
            "annotations": self.annotations,
            "categories": list(categories),
        }


def describe_categories(
    classes: Sequence[DrawnClass], image_counts: Sequence[int], instance_counts: Sequence[int]
) -> list[Record]:
    """The categories, ids from 1; counts and frequency are those of the training split."""
    return [
        {
            "id": label + 1,
            "name": kind.name,
            "synset": f"{kind.name}.n.01",
            "synonyms": [kind.name],
            "def": f"a {kind.shape} drawn in {kind.color}, texture: {kind.texture}",
            "image_count": images,
            "instance_count": instances,
            "frequency": frequency_group(images)[0],
        }
        for label, (kind, images, instances) in enumerate(
            zip(classes, image_counts, instance_counts, strict=True)
        )
    ]


def _describe(drawn: DrawnObject) -> Record:
    """Run lengths and not polygons: they hold the visible pixels exactly, holes included."""
    rows = np.flatnonzero(drawn.mask.any(axis=1))
    columns = np.flatnonzero(drawn.mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    runs = coco_mask.encode(np.asfortranarray(drawn.mask, dtype=np.uint8))
    return {
        "category_id": drawn.label + 1,
        "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        "area": int(drawn.mask.sum()),
        "segmentation": {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")},
        "iscrowd": 0,
    }
