"""Results of an imagined detector on images with the statistics of LVIS v1: columns and files.

1,203 categories by a Zipf-like law, about 15 objects and 10 verified absent categories an image,
300 detections an image of which about a third are of categories that were looked for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.ground_truth import GroundTruth
from dense_lt.evaluation.masks import PackedMasks, mask_tools
from dense_lt.evaluation.predictions import Predictions

CATEGORIES = 1203
OBJECTS, NEGATIVES, DETECTIONS = 15, 10, 300
GRID = 128
HEIGHT, WIDTH = 480, 640
GROUPS = np.array(["frequent"] * 405 + ["common"] * 461 + ["rare"] * 337)


def simulate(images: int, seed: int = 0) -> tuple[GroundTruth, Predictions]:
    """Ground truth and predictions of boxes as columns."""
    rng = np.random.default_rng(seed)
    law = 1 / np.arange(1, CATEGORIES + 1) ** 1.1
    law /= law.sum()
    image = np.repeat(np.arange(images), rng.poisson(OBJECTS, images)).astype(np.int32)
    few = rng.choice(CATEGORIES, (images, 4), p=law)  # an image repeats a few categories
    category = few[image, rng.integers(0, 4, len(image))].astype(np.int32)
    boxes = _boxes(rng, len(image))
    negatives = (
        np.repeat(np.arange(images), NEGATIVES),
        rng.choice(CATEGORIES, images * NEGATIVES, p=law),
    )
    nothing = np.zeros(0, np.int64)
    truth = GroundTruth(
        source="simulated",
        image_ids=np.arange(1, images + 1),
        image_sizes=np.tile(np.array([[HEIGHT, WIDTH]], np.int32), (images, 1)),
        category_ids=np.arange(1, CATEGORIES + 1),
        names=tuple(f"class {index}" for index in range(CATEGORIES)),
        groups=tuple(GROUPS.tolist()),
        train_images=None,
        train_instances=None,
        image=image,
        category=category,
        boxes=boxes,
        areas=boxes[:, 2] * boxes[:, 3] * 0.7,
        ignore=np.zeros(len(image), bool),
        crowd=np.zeros(len(image), bool),
        masks=None,
        negatives=negatives,
        not_exhaustive=(nothing, nothing),
    )
    return truth, _detections(rng, truth, law)


def _boxes(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    sides = np.exp(rng.normal(4, 0.9, (count, 2))).clip(4, [WIDTH - 2, HEIGHT - 2])
    low = rng.random((count, 2)) * ([WIDTH, HEIGHT] - sides)
    return np.round(np.concatenate([low, sides], axis=1), 2)


def _detections(
    rng: np.random.Generator, truth: GroundTruth, law: NDArray[np.float64]
) -> Predictions:
    """A fifth near objects, 15% of looked-for categories elsewhere, the rest of any category."""
    images = len(truth.image_ids)
    count = images * DETECTIONS
    image = np.repeat(np.arange(images, dtype=np.int32), DETECTIONS)
    category = rng.choice(CATEGORIES, count, p=law).astype(np.int32)
    boxes = _boxes(rng, count).astype(np.float32)
    first = np.searchsorted(truth.image, np.arange(images + 1))
    own = np.diff(first)[image]
    kind = rng.random(count)
    near = np.flatnonzero((kind < 0.2) & (own > 0))
    chosen = first[image[near]] + (rng.random(len(near)) * own[near]).astype(np.int64)
    category[near] = truth.category[chosen]
    noise = rng.normal(0, 0.12, (len(near), 4)) * np.tile(truth.boxes[chosen, 2:], 2)
    boxes[near] = (truth.boxes[chosen] + noise).clip(1)
    boxes = np.round(boxes * GRID) / GRID  # as a detector's boxes are written
    looked_for = np.flatnonzero((kind >= 0.2) & (kind < 0.35))
    assert truth.negatives is not None
    absent = truth.negatives[1].reshape(images, NEGATIVES)
    category[looked_for] = absent[image[looked_for], rng.integers(0, NEGATIVES, len(looked_for))]
    scores = rng.random(count, dtype=np.float32) ** 2
    scores[near] = np.sqrt(scores[near])
    return Predictions(
        "simulated", truth.image_ids[image], truth.category_ids[category], scores, boxes
    )


def _ellipses(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, 24, 2) corners of the ellipses in boxes xywh, to a tenth of a pixel."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1) / 2 + 0.5
    corners = boxes[:, None, :2].astype(np.float64) + circle * boxes[:, None, 2:]
    return np.round(corners, 1)


def masks_of(found: Predictions) -> Predictions:
    """Detections as masks alone: the ellipses in their boxes."""
    tools = mask_tools()
    assert found.boxes is not None
    rles = [
        tools.frPyObjects([corners.ravel().tolist()], HEIGHT, WIDTH)[0]
        for corners in _ellipses(found.boxes)
    ]
    return replace(found, boxes=None, masks=PackedMasks.pack(rles))


def document_of(truth: GroundTruth) -> dict[str, Any]:
    """The annotation file of `truth`; every object is the polygon of an ellipse in its box."""
    assert truth.negatives is not None
    absent = truth.negatives[1].reshape(-1, NEGATIVES) + 1
    polygons = _ellipses(truth.boxes)
    return {
        "images": [
            {
                "id": image_id,
                "height": HEIGHT,
                "width": WIDTH,
                "neg_category_ids": absent[index].tolist(),
                "not_exhaustive_category_ids": [],
            }
            for index, image_id in enumerate(truth.image_ids.tolist())
        ],
        "annotations": [
            {
                "id": index + 1,
                "image_id": int(truth.image_ids[truth.image[index]]),
                "category_id": int(truth.category_ids[truth.category[index]]),
                "bbox": truth.boxes[index].tolist(),
                "area": float(truth.areas[index]),
                "segmentation": [polygons[index].ravel().tolist()],
            }
            for index in range(len(truth.areas))
        ],
        "categories": [
            {"id": index + 1, "name": name, "frequency": group[0]}
            for index, (name, group) in enumerate(zip(truth.names, truth.groups or (), strict=True))
        ],
    }
