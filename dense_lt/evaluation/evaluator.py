"""Predict with a detector, score, and write both: the end of training, and `eval RUN`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dense_lt.data.categories import CategoryTable
from dense_lt.evaluation.ground_truth import GroundTruth
from dense_lt.evaluation.predict import PredictionRun, predict, why_nothing
from dense_lt.evaluation.prediction_files import write_predictions
from dense_lt.evaluation.results import EvaluationResult, save_results
from dense_lt.evaluation.score import ScoreSettings, score
from dense_lt.models.detector import Detector
from dense_lt.structures import Batch
from dense_lt.utils import distributed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFacts:
    """What the results say of the run they belong to."""

    name: str = ""
    step: int | None = None
    """Optimizer steps that the weights have seen."""
    config: dict[str, Any] | None = None
    """The resolved configuration."""


class DetectorEvaluator:
    """Measures detectors against one ground truth."""

    def __init__(
        self,
        ground_truth: GroundTruth,
        settings: Sequence[ScoreSettings],
        *,
        categories: CategoryTable,
        device: torch.device,
        precision: str = "fp32",
    ) -> None:
        """Remember against what and how to measure.

        Args:
            ground_truth: of the images that will be predicted.
            settings: one for each IoU type.
            categories: of the detector's labels.
            device: where to predict.
            precision: "fp32" or "bf16".
        """
        self.ground_truth = ground_truth
        self.settings = tuple(settings)
        self.categories = categories
        self.device = device
        self.precision = precision

    def __call__(
        self,
        detector: Detector,
        loader: Iterable[Batch],
        facts: RunFacts | None = None,
        folder: Path | None = None,
    ) -> list[EvaluationResult]:
        """Predict on all processes, score on the main one; every process gets the results.

        Args:
            detector: on the device; left in evaluation mode.
            loader: every image once over all processes.
            facts: of the run.
            folder: gets predictions.json, results.json and per_class.csv; None writes nothing.
        """
        predicted = predict(
            detector,
            loader,
            categories=self.categories,
            device=self.device,
            precision=self.precision,
        )
        results: list[EvaluationResult] = []
        if distributed.is_main():
            notes = []
            if not len(predicted.predictions):
                notes = [why_nothing(detector, loader, self.device)]
            results = [
                self._score(predicted, settings, facts or RunFacts(), notes)
                for settings in self._settings(folder)
            ]
            for note in dict.fromkeys(note for result in results for note in result.notes):
                logger.warning("%s", note)
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                write_predictions(predicted.predictions, folder / "predictions.json")
                save_results(results, folder)
        return distributed.broadcast_object(results)

    def _settings(self, folder: Path | None) -> list[ScoreSettings]:
        """Numbers on the way need no intervals; those that are kept do."""
        kept = folder is not None
        return [replace(own, resamples=own.resamples if kept else 0) for own in self.settings]

    def _score(
        self,
        predicted: PredictionRun,
        settings: ScoreSettings,
        facts: RunFacts,
        notes: Sequence[str],
    ) -> EvaluationResult:
        result = score(self.ground_truth, predicted.predictions, settings, run=facts.name)
        return replace(
            result,
            step=facts.step,
            config=facts.config,
            seconds_per_image=predicted.seconds_per_image,
            notes=(*result.notes, *notes),
        )
