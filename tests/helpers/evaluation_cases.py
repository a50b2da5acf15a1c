"""Ground truth and predictions for the official packages too: small, and full of traps."""

from __future__ import annotations

from typing import Any

import numpy as np

Document = dict[str, Any]
Records = list[dict[str, Any]]
Case = tuple[Document, Records]


def _box(rng: np.random.Generator, size: int) -> list[float]:
    """Boxes on a coarse grid: equal IoU and IoU exactly at a threshold are common."""
    low = rng.integers(0, size - 8, 2)
    sides = rng.integers(1, 9, 2) * rng.choice([1, 4, 12])
    return [float(v) for v in (*low, *np.minimum(sides, size - low))]


def _jitter(rng: np.random.Generator, box: list[float], size: int) -> list[float]:
    x, y, width, height = np.array(box) + rng.integers(-2, 3, 4)
    return [float(x), float(y), float(np.clip(width, 1, size)), float(np.clip(height, 1, size))]


def _polygon(box: list[float]) -> list[list[float]]:
    x, y, width, height = box
    return [[x, y, x + width, y, x + width, y + 0.7 * height, x, y + height]]


def make_case(
    seed: int,
    *,
    images: int = 6,
    categories: int = 5,
    objects: int = 5,
    detections: int = 12,
    size: int = 120,
    coco: bool = False,
    masks: bool = False,
    ties: bool = True,
) -> Case:
    """Empty images, unchecked categories, ignored, crowded and empty objects, ties."""
    rng = np.random.default_rng(seed)
    category_ids = rng.permutation(np.arange(1, 3 * categories))[:categories].tolist()
    image_ids = rng.permutation(np.arange(5, 5 + 3 * images))[:images].tolist()
    annotations: Records = []
    records: Records = []
    for image_id in image_ids:
        own = [
            _annotation(rng, image_id, category_ids[:-1], size)
            for _ in range(rng.integers(objects))
        ]
        annotations += own
        for _ in range(rng.integers(detections + 1)):
            records.append(_detection(rng, image_id, category_ids, own, size, ties=ties))
    for index, annotation in enumerate(annotations):
        annotation["id"] = index + 1
        if coco:
            annotation["iscrowd"] = int(rng.random() < 0.15)
            annotation.pop("ignore")
    document = {
        "images": [_image(rng, image_id, category_ids, size, coco=coco) for image_id in image_ids],
        "annotations": annotations,
        "categories": [
            {"id": i, "name": f"class {i}", "frequency": "rcf"[k % 3]}
            for k, i in enumerate(category_ids)
        ],
    }
    rng.shuffle(records)
    if masks:
        for entry in (*annotations, *records):
            entry["segmentation"] = _polygon(entry["bbox"])
    return document, records


def _image(
    rng: np.random.Generator, image_id: int, category_ids: list[int], size: int, *, coco: bool
) -> dict[str, Any]:
    image: dict[str, Any] = {"id": image_id, "file_name": f"{image_id}.png"}
    image |= {"height": size, "width": size}
    if not coco:
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            count = rng.integers(0, len(category_ids))
            image[key] = rng.permutation(category_ids)[:count].tolist()
    return image


def _annotation(
    rng: np.random.Generator, image_id: int, category_ids: list[int], size: int
) -> dict[str, Any]:
    box = _box(rng, size)
    area = box[2] * box[3] * rng.choice([1.0, 0.6])
    area = rng.choice(
        [area, area, area, 32.0**2, 96.0**2, 0.0], p=[0.3, 0.3, 0.2, 0.08, 0.08, 0.04]
    )
    return {
        "image_id": image_id,
        "category_id": int(rng.choice(category_ids)),
        "bbox": box,
        "area": float(area),
        "ignore": int(rng.random() < 0.1),
    }


def _detection(
    rng: np.random.Generator,
    image_id: int,
    category_ids: list[int],
    own: Records,
    size: int,
    *,
    ties: bool,
) -> dict[str, Any]:
    box, category_id = _box(rng, size), int(rng.choice([*category_ids, 999]))
    if own and rng.random() < 0.7:
        chosen = own[rng.integers(len(own))]
        box = chosen["bbox"] if rng.random() < 0.4 else _jitter(rng, chosen["bbox"], size)
        category_id = chosen["category_id"]
    if rng.random() < 0.05:
        box = [*box[:3], 0.0]
    score = float(rng.integers(0, 8) / 8) if ties else float(rng.random())
    return {"image_id": image_id, "category_id": category_id, "bbox": list(box), "score": score}
