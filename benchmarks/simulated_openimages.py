"""Files of the Open Images challenge: 500 classes in a hierarchy, for scoring and for training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLASSES, PARENTS = 500, 20
BOXES, LABELS, DETECTIONS = 6, 8, 300
TRAINING_BOXES, TRAINING_LABELS = 7.18, 4
"""An image, as in the training set of the challenge: 12.2 million boxes in 1.7 million images."""

BLOCK = 10_000
"""Images that are written at once."""

CHALLENGE = "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\n"
FULL = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,"
    "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
)


def write_open_images(folder: Path, images: int, seed: int = 0) -> None:
    """boxes.csv, labels.csv, found.csv, classes.csv and hierarchy.json in `folder`."""
    rng = np.random.default_rng(seed)
    names, law = _classes(folder, 0.8)
    with (
        (folder / "boxes.csv").open("w") as boxes,
        (folder / "labels.csv").open("w") as labels,
        (folder / "found.csv").open("w") as found,
    ):
        boxes.write("ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\n")
        labels.write("ImageID,LabelName,Confidence\n")
        found.write("ImageID,LabelName,Score,XMin,XMax,YMin,YMax\n")
        for image in rng.permutation(images).tolist():
            name = f"{image:016x}"
            own, where = _objects(rng, rng.poisson(BOXES), law)
            for index, row in zip(own, where, strict=True):
                group = int(rng.random() < 0.06)
                boxes.write(f"{name},{names[index]},{_text(row)},{group}\n")
            for index in rng.choice(CLASSES, LABELS, p=law):
                labels.write(f"{name},{names[index]},{int(rng.random() < 0.4)}\n")
            other, elsewhere = _objects(rng, DETECTIONS, law)
            if len(own):  # a fifth of the detections is near objects
                near = rng.integers(0, len(own), DETECTIONS // 5)
                other[: len(near)] = own[near]
                elsewhere[: len(near)] = where[near] + rng.normal(0, 0.02, (len(near), 4))
            scores = rng.random(DETECTIONS)
            found.writelines(
                f"{name},{names[index]},{score:.6f},{_text(row)}\n"
                for index, score, row in zip(other, scores, elsewhere, strict=True)
            )


def write_training_set(folder: Path, images: int, *, full: bool = False, seed: int = 0) -> None:
    """boxes.csv, labels.csv, sizes.csv, classes.csv and hierarchy.json, if they are not there.

    Args:
        folder: gets the files.
        images: number of images; every one has a box at least.
        full: thirteen columns, as in the releases V4 to V7, instead of the challenge's seven.
        seed: of everything.
    """
    if (folder / "sizes.csv").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    names, law = _classes(folder, 1.3)
    law = rng.permutation(law)  # parents are not the most frequent classes alone
    image_names = [f"{number:016x}" for number in rng.integers(0, 1 << 62, images).tolist()]
    with (folder / "boxes.csv").open("w") as boxes, (folder / "labels.csv").open("w") as labels:
        boxes.write(FULL if full else CHALLENGE)
        labels.write("ImageID,Source,LabelName,Confidence\n")
        for start in range(0, images, BLOCK):
            own = image_names[start : start + BLOCK]
            boxes.writelines(_training_boxes(rng, own, names, law, full=full))
            labels.writelines(_training_labels(rng, own, names, law))
    with (folder / "sizes.csv").open("w") as sizes:
        sizes.write("ImageID,width,height\n")
        sizes.writelines(f"{name},1024,{683 if name[-1] < 'c' else 768}\n" for name in image_names)


def _training_boxes(
    rng: np.random.Generator,
    images: list[str],
    names: list[str],
    law: NDArray[np.float64],
    *,
    full: bool,
) -> Iterator[str]:
    counts = 1 + rng.poisson(TRAINING_BOXES - 1, len(images))
    classes, where = _objects(rng, int(counts.sum()), law)
    owner = np.repeat(np.arange(len(images)), counts).tolist()
    groups = (rng.random(len(owner)) < 0.06).astype(int).tolist()
    rows = zip(owner, classes.tolist(), where.tolist(), groups, strict=True)
    for image, index, (x1, x2, y1, y2), group in rows:
        corners = f"{x1:.6f},{x2:.6f},{y1:.6f},{y2:.6f}"
        if full:
            yield f"{images[image]},xclick,{names[index]},1,{corners},0,1,{group},0,0\n"
        else:
            yield f"{images[image]},{names[index]},{corners},{group}\n"


def _training_labels(
    rng: np.random.Generator, images: list[str], names: list[str], law: NDArray[np.float64]
) -> Iterator[str]:
    classes = rng.choice(CLASSES, (len(images), TRAINING_LABELS), p=law).tolist()
    present = (rng.random((len(images), TRAINING_LABELS)) < 0.5).astype(int).tolist()
    for image, own, verified in zip(images, classes, present, strict=True):
        for index, confidence in zip(own, verified, strict=True):
            yield f"{image},verification,{names[index]},{confidence}\n"


def _classes(folder: Path, exponent: float) -> tuple[list[str], NDArray[np.float64]]:
    """Machine ids and how often each class comes; writes their two files."""
    names = [f"/m/{index:05x}" for index in range(CLASSES)]
    law = 1 / np.arange(1, CLASSES + 1) ** exponent
    (folder / "classes.csv").write_text("".join(f"{name},class\n" for name in names))
    (folder / "hierarchy.json").write_text(json.dumps(_hierarchy(names)))
    return names, law / law.sum()


def _objects(
    rng: np.random.Generator, count: int, law: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Classes, and boxes in the order of the files: x1 x2 y1 y2."""
    low = rng.random((count, 2)) * 0.8
    high = np.minimum(low + 0.02 + rng.random((count, 2)) * 0.4, 1)
    boxes = np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)
    return rng.choice(CLASSES, count, p=law), boxes


def _text(row: NDArray[np.float64]) -> str:
    return ",".join(f"{value:.4f}" for value in row)


def _hierarchy(names: list[str]) -> dict[str, object]:
    """The first classes are parents of the others."""
    children = [names[index::PARENTS][1:] for index in range(PARENTS)]
    return {
        "LabelName": "root",
        "Subcategory": [
            {"LabelName": parent, "Subcategory": [{"LabelName": child} for child in own]}
            for parent, own in zip(names, children, strict=False)
        ],
    }
