"""A detector that knows where the object is, and images that tell it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from dense_lt.data.categories import CategoryTable
from dense_lt.evaluation.annotations import ground_truth_from
from dense_lt.evaluation.evaluator import DetectorEvaluator, RunFacts
from dense_lt.evaluation.score import ScoreSettings
from dense_lt.models.dense_inference import SelectionLimits
from dense_lt.models.detector import Detector
from dense_lt.structures import Batch, Detections, ImageBatch, ImageInfo
from dense_lt.utils import distributed

CATEGORIES = CategoryTable(("owl", "cup"), (30, 70), (2, 500), (3, 900), ("rare", "frequent"))
IMAGES = (5, 6, 8)


class OracleDetector(Detector):
    """Finds in every image the box that its first pixels spell, and a wrong one."""

    def forward(self, images, targets=None, *, normalizer=None):
        found = []
        for pixels in images.pixels:
            box = pixels[0, 0, :4].float()
            boxes = torch.stack([box, torch.tensor([0.0, 0.0, 1.0, 1.0])])
            found.append(Detections(boxes, torch.tensor([0.9, 0.4]), torch.tensor([1, 0])))
        return found

    def count_positives(self, images, targets):
        raise NotImplementedError

    def summary(self):
        return {}


class BlindDetector(OracleDetector):
    """Finds nothing."""

    def forward(self, images, targets=None, *, normalizer=None):
        nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
        return [nothing] * len(images.pixels)


class CappedDetector(OracleDetector):
    """Keeps one detection of an image, as its limits say."""

    def __init__(self):
        super().__init__()
        self.inference = SimpleNamespace(limits=SelectionLimits(max_detections=1))

    def forward(self, images, targets=None, *, normalizer=None):
        most = self.inference.limits.max_detections
        return [
            Detections(own.boxes[:most], own.scores[:most], own.labels[:most])
            for own in super().forward(images, targets)
        ]


def loader() -> Iterator[Batch]:
    """This process's images one by one: 20 x 40 on disk, twice as large for the network."""
    for image_id in IMAGES[distributed.rank() :: distributed.world_size()]:
        pixels = torch.zeros(1, 3, 64, 96, dtype=torch.uint8)
        pixels[0, 0, 0, :4] = torch.tensor([10, 10, 30, 20])
        info = ImageInfo(image_id, original_size=(20, 40), input_size=(40, 80))
        yield Batch(ImageBatch(pixels, ((40, 80),)), [], [info])


def document() -> dict[str, Any]:
    """One cup in every image, where the pixels say."""
    return {
        "images": [{"id": i, "height": 20, "width": 40, "neg_category_ids": [30]} for i in IMAGES],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 70, "bbox": [5, 5, 10, 5], "area": 50}
            for i in IMAGES
        ],
        "categories": [{"id": 30, "name": "owl"}, {"id": 70, "name": "cup"}],
    }


def evaluator(*protocols: str, image_cap: bool = True) -> DetectorEvaluator:
    """Measures against `document`, by LVIS's rules if no others are named."""
    truth = ground_truth_from(document(), source="gt.json").with_training_counts(CATEGORIES)
    return DetectorEvaluator(
        truth,
        [ScoreSettings(protocol=own, resamples=10) for own in protocols or ("lvis",)],
        categories=CATEGORIES,
        device=torch.device("cpu"),
        image_cap=image_cap,
    )


def evaluate(folder: str) -> list[dict[str, Any]]:
    """What one of several processes gets, through memory and through a folder."""
    results = [
        evaluator()(OracleDetector(), list(loader()), RunFacts("oracle"), path)[0]
        for path in (None, Path(folder))
    ]
    return [{**result.metrics, "detections": result.counts["detections"]} for result in results]
