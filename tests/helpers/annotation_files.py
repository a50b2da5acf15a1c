"""Small data sets on disk, in COCO or LVIS format, with whatever a test wants to be wrong."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dense_lt.data.faults import Fault
from dense_lt.data.screening import scan

Content = dict[str, Any]

CATEGORY_IDS = (40, -3, 7)
"""Neither contiguous nor in order nor positive. Labels: -3 -> 0, 7 -> 1, 40 -> 2."""


def coco_content() -> Content:
    """Three images (the last one empty), four objects, three classes, nothing beyond plain COCO."""
    return {
        "images": [
            {"id": 11, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 5, "file_name": "b.png", "width": 20, "height": 50},
            {"id": 8, "file_name": "empty.png", "width": 33, "height": 17},
        ],
        "annotations": [
            _annotation(1, image=11, category=40, box=[2, 3, 10, 12]),
            _annotation(0, image=5, category=7, box=[0, 0, 20, 50]),
            _annotation(9, image=11, category=7, box=[20, 5, 8.5, 9]),
            _annotation(4, image=11, category=40, box=[30, 20, 10, 10]),
        ],
        "categories": [{"id": i, "name": f"class {i}"} for i in CATEGORY_IDS],
    }


def lvis_content() -> Content:
    """The same with the fields of LVIS."""
    content = coco_content()
    for image in content["images"]:
        image["neg_category_ids"] = [-3]
        image["not_exhaustive_category_ids"] = []
    content["images"][1]["not_exhaustive_category_ids"] = [7]
    for category, frequency in zip(content["categories"], "frc", strict=True):
        category["frequency"] = frequency
    return content


def write_json(path: Path, content: Content) -> Path:
    """Write `content` to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def faults_of(content: object, *, masks: bool = True) -> list[Fault]:
    """Every fault of a file that holds `content`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return scan(path, masks=masks).faults


def write_images(folder: Path, content: Content) -> None:
    """A picture for every image of `content`, noise of the right size."""
    random = np.random.default_rng(0)
    for image in content["images"]:
        pixels = random.integers(0, 256, (image["height"], image["width"], 3), dtype=np.uint8)
        path = folder / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def write_set(folder: Path, content: Content, name: str = "train") -> Path:
    """Annotation file `name`.json and its images, in `folder`."""
    write_images(folder, content)
    return write_json(folder / f"{name}.json", content)


def _annotation(number: int, *, image: int, category: int, box: list[float]) -> Content:
    x, y, width, height = box
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": box,
        "area": width * height,
        "iscrowd": 0,
        "segmentation": [corners],
    }
