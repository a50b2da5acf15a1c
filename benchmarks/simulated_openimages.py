"""Files of the Open Images challenge: 500 classes in a hierarchy, 300 detections an image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLASSES, PARENTS = 500, 20
BOXES, LABELS, DETECTIONS = 6, 8, 300


def write_open_images(folder: Path, images: int, seed: int = 0) -> None:
    """boxes.csv, labels.csv, found.csv, classes.csv and hierarchy.json in `folder`."""
    rng = np.random.default_rng(seed)
    names = [f"/m/{index:05x}" for index in range(CLASSES)]
    law = 1 / np.arange(1, CLASSES + 1) ** 0.8
    law /= law.sum()
    (folder / "classes.csv").write_text("".join(f"{name},class\n" for name in names))
    (folder / "hierarchy.json").write_text(json.dumps(_hierarchy(names)))
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
