"""An annotation file of the size of LVIS v1's training file, written piece by piece.

100,170 images, 1.27 million instances with polygons, 1,203 categories. Instances and images of
every category are those of a real class list where one is given, otherwise a law of the same shape
and size. Polygons have the lengths found in LVIS: 85 numbers on average, a few with hundreds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

IMAGES, INSTANCES, CATEGORIES = 100_170, 1_270_141, 1203
SIDES = np.array([[480, 640], [640, 480], [427, 640], [640, 427]])
BLOCK = 2000
"""Images whose annotations are made at once."""

HUNDREDTHS = [repr(value / 100) for value in range(64_001)]
"""Every coordinate that can occur, as text."""


class ClassList(NamedTuple):
    """Of every category: the record of the file, its images and its instances."""

    records: list[dict[str, Any]]
    images: NDArray[np.int64]
    instances: NDArray[np.int64]


def real_classes(path: Path) -> ClassList:
    """From the `categories` of an LVIS training file."""
    records = json.loads(path.read_text(encoding="utf-8"))
    counts = [[record["image_count"], record["instance_count"]] for record in records]
    return ClassList(records, *np.array(counts).T)


def like_lvis() -> ClassList:
    """Image counts fall from 2,000 to 1 as those of LVIS v1 do: a third of the classes is rare."""
    images = np.round(2000 ** (1 - np.arange(CATEGORIES) / (CATEGORIES - 1))).astype(np.int64)
    instances = np.maximum(1, images * INSTANCES // images.sum())
    instances[0] += INSTANCES - instances.sum()
    groups = np.where(images <= 10, "r", np.where(images <= 100, "c", "f"))
    records = [
        {
            "id": index + 1,
            "name": f"class_{index}",
            "synonyms": [f"class_{index}", f"kind_{index}"],
            "synset": f"class.n.{index:02d}",
            "def": "a class that stands for one of the real list",
            "image_count": int(images[index]),
            "instance_count": int(instances[index]),
            "frequency": str(groups[index]),
        }
        for index in range(CATEGORIES)
    ]
    return ClassList(records, images, instances)


def write_file(path: Path, classes: ClassList, *, scale: float = 1.0, seed: int = 0) -> None:
    """Write the file, in a few minutes; `scale` makes fewer images and instances."""
    rng = np.random.default_rng(seed)
    images = max(1, round(IMAGES * scale))
    owners, categories = _instances(rng, classes, images, scale)
    sides = SIDES[rng.integers(0, len(SIDES), images)]
    ids = np.sort(rng.choice(581_000, images, replace=False))
    with path.open("w", encoding="utf-8") as file:
        file.write('{"info": {"description": "simulated", "version": "v1.0"}, "annotations": [')
        first = np.searchsorted(owners, np.arange(0, images + BLOCK, BLOCK))
        for start, stop in zip(first[:-1].tolist(), first[1:].tolist(), strict=True):
            own = slice(start, stop)
            lines = _annotations(rng, start, ids[owners[own]], categories[own], sides[owners[own]])
            _write_list(file, lines, follows=start > 0)
        file.write('], "images": [')
        _write_list(file, _images(rng, ids, sides, len(classes.records)), follows=False)
        file.write(f'], "licenses": [], "categories": {json.dumps(classes.records)}}}')


def _instances(
    rng: np.random.Generator, classes: ClassList, images: int, scale: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Image and category of every instance, image by image."""
    owners, categories = [], []
    for index, (own, count) in enumerate(zip(classes.images, classes.instances, strict=True)):
        own = min(images, max(1, round(own * scale)))
        count = max(own, round(count * scale))
        chosen = rng.choice(images, own, replace=False)
        owners.append(np.concatenate([chosen, rng.choice(chosen, count - own)]))
        categories.append(np.full(count, classes.records[index]["id"]))
    owner, category = np.concatenate(owners), np.concatenate(categories)
    order = np.argsort(owner, kind="stable")
    return owner[order], category[order]


def _annotations(
    rng: np.random.Generator,
    start: int,
    image_ids: NDArray[np.int64],
    categories: NDArray[np.int64],
    sides: NDArray[np.int64],
) -> Iterator[str]:
    count = len(image_ids)
    size = np.exp(rng.normal(3.7, 1.0, (count, 2))).clip(4, sides[:, ::-1] - 2)
    low = rng.random((count, 2)) * (sides[:, ::-1] - size)
    numbers = 2 * np.exp(rng.normal(3.3, 0.9, count)).clip(3, 600).astype(np.int64)
    ends = np.cumsum(numbers)
    angles = np.repeat(rng.random(count) * 6, numbers // 2) + 0.37 * np.arange(ends[-1] // 2)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1) / 2 + 0.5
    points = np.repeat(low, numbers // 2, axis=0) + circle * np.repeat(size, numbers // 2, axis=0)
    hundredths = np.round(100 * points).astype(np.int64).ravel().tolist()
    boxes, area = np.round(np.concatenate([low, size], axis=1), 2), np.round(0.7 * size.prod(1), 2)
    rows = zip(
        (ends - numbers).tolist(),
        ends.tolist(),
        area.tolist(),
        image_ids.tolist(),
        boxes.tolist(),
        categories.tolist(),
        strict=True,
    )
    for number, (first, last, area_, image, box, category) in enumerate(rows, start + 1):
        texts = [HUNDREDTHS[value] for value in hundredths[first:last]]
        middle = (last - first) // 4 * 2
        if number % 8 == 0 and middle >= 6:  # of two parts
            inside = f"[{', '.join(texts[:middle])}], [{', '.join(texts[middle:])}]"
        else:
            inside = f"[{', '.join(texts)}]"
        yield (
            f'{{"area": {area_}, "id": {number}, "segmentation": [{inside}], '
            f'"image_id": {image}, "bbox": {box}, "category_id": {category}}}'
        )


def _images(
    rng: np.random.Generator, ids: NDArray[np.int64], sides: NDArray[np.int64], categories: int
) -> Iterator[str]:
    for image_id, (height, width) in zip(ids.tolist(), sides.tolist(), strict=True):
        absent = rng.integers(1, categories + 1, 8).tolist()
        yield json.dumps(
            {
                "date_captured": "2013-11-14 17:02:52",
                "neg_category_ids": absent,
                "id": image_id,
                "license": 4,
                "height": height,
                "width": width,
                "flickr_url": f"http://farm7.staticflickr.com/6116/{image_id:010d}_02d61a1cdd_z.jpg",
                "coco_url": f"http://images.cocodataset.org/train2017/{image_id:012d}.jpg",
                "not_exhaustive_category_ids": absent[:1] if image_id % 4 == 0 else [],
            }
        )


def _write_list(file: TextIO, entries: Iterator[str], *, follows: bool) -> None:
    """Entries of a list, a few thousand at a time."""
    for number, entry in enumerate(entries):
        file.write(f", {entry}" if number or follows else entry)
