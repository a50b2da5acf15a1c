"""Small Open Images sets on disk, in both published forms, with whatever a test wants.

Classes: pet above cat and dog; toy above dog too; car apart. Two are called "Mouse".
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dense_lt.data.openimages.read import OpenImagesFiles

CLASSES = ("/m/pet", "/m/cat", "/m/dog", "/m/toy", "/m/car")
NAMES = ("Pet", "Mouse", "Dog", "Mouse", "Car")
PET, CAT, DOG, TOY, CAR = range(5)
TREE = {
    "LabelName": "/m/everything",
    "Subcategory": [
        {
            "LabelName": "/m/pet",
            "Subcategory": [{"LabelName": "/m/cat"}, {"LabelName": "/m/dog"}],
        },
        {"LabelName": "/m/toy", "Subcategory": [{"LabelName": "/m/dog"}]},
        {"LabelName": "/m/car"},
    ],
}
CHALLENGE = "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf"
FULL = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,"
    "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
)
LABELS = "ImageID,Source,LabelName,Confidence"

SIZES = {"aa": (40, 100), "bb": (200, 50), "cc": (30, 30)}
"""Image -> (height, width)."""

BOXES = [  # image, class, x1, x2, y1, y2, group-of; image bb comes twice and not first
    ("bb", "/m/dog", 0.2, 0.4, 0.1, 0.6, 0),
    ("aa", "/m/cat", 0.0, 0.5, 0.25, 1.0, 0),
    ("aa", "/m/car", 0.5, 1.0, 0.0, 0.5, 1),
    ("bb", "/m/car", 0.0, 0.1, 0.0, 0.1, 0),
]
VERIFIED = [  # image, class, confidence; cc has labels alone
    ("aa", "/m/toy", 0),
    ("bb", "/m/cat", 0),
    ("cc", "/m/pet", 0),
    ("cc", "/m/car", 1),
]
Row = tuple[Any, ...]


def write_csv(path: Path, header: str, rows: Sequence[Row]) -> Path:
    """A CSV file with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header.split(","), *rows])
    return path


def full_rows(boxes: Sequence[Row]) -> list[Row]:
    """Boxes as the releases V4 to V7 write them: occluded yes, truncated unknown."""
    return [
        (image, "xclick", name, 1, *corners, 1, -1, group, 0, 0)
        for image, name, *corners, group in boxes
    ]


def write_open_images(
    folder: Path,
    *,
    boxes: Sequence[Row] = BOXES,
    labels: Sequence[Row] | None = VERIFIED,
    full: bool = False,
    hierarchy: bool = True,
    sizes: bool = True,
) -> OpenImagesFiles:
    """The files of one split under names of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classes.csv").write_text(
        "".join(f"{own},{name}\n" for own, name in zip(CLASSES, NAMES, strict=True))
    )
    rows = full_rows(boxes) if full else list(boxes)
    write_csv(folder / "boxes.csv", FULL if full else CHALLENGE, rows)
    if labels is not None:
        rows = [(image, "verification", *rest) for image, *rest in labels]
        write_csv(folder / "labels.csv", LABELS, rows)
    if hierarchy:
        (folder / "tree.json").write_text(json.dumps(TREE))
    if sizes:
        rows = [(image, width, height) for image, (height, width) in SIZES.items()]
        write_csv(folder / "sizes.csv", "ImageID,width,height", rows)
    return OpenImagesFiles(
        boxes=folder / "boxes.csv",
        classes=folder / "classes.csv",
        labels=folder / "labels.csv" if labels is not None else None,
        hierarchy=folder / "tree.json" if hierarchy else None,
        sizes=folder / "sizes.csv" if sizes else None,
    )


def write_photographs(folder: Path) -> Path:
    """A picture for every image of SIZES, noise of the right size."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for name, size in SIZES.items():
        pixels = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.jpg")
    return folder
