"""Predict with a detector, score, and write both: the end of training, and `eval RUN`."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dense_lt.data.categories import CategoryTable
from dense_lt.evaluation.candidates import CandidateWatch
from dense_lt.evaluation.detector_facts import save_facts
from dense_lt.evaluation.diagnosis import DIAGNOSIS_FILE, Diagnosis, diagnose
from dense_lt.evaluation.ground_truth import GroundTruth
from dense_lt.evaluation.predict import PredictionRun, note_of_unread, predict, why_nothing
from dense_lt.evaluation.prediction_files import write_predictions
from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.results import EvaluationResult, save_results
from dense_lt.evaluation.score import ScoreSettings, score
from dense_lt.evaluation.shards import predicted_images
from dense_lt.evaluation.streaming import Keep
from dense_lt.models.detector import Detector
from dense_lt.structures import Batch
from dense_lt.utils import distributed
from dense_lt.utils.errors import ConfigError

logger = logging.getLogger(__name__)

MADE_BY = "made_by.json"
"""Beside the predictions: from which weights and settings they come."""


@dataclass(frozen=True)
class RunFacts:
    """What the results say of the run they belong to."""

    name: str = ""
    step: int | None = None
    """Optimizer steps that the weights have seen."""
    config: dict[str, Any] | None = None
    """The resolved configuration."""
    images: str = ""
    """Digest of the images' ids and names."""

    def made_by(self) -> dict[str, Any]:
        """What decides the predictions: the weights, the settings of model and data, the images."""
        settings = self.config or {}
        data = {k: v for k, v in settings.get("data", {}).items() if k != "workers"}
        own = {"name": self.name, "step": self.step, "model": settings.get("model")}
        return {**own, "data": data, "images": self.images}


class Evaluator(ABC):
    """Measures detectors; how predictions are scored is for the data set to say."""

    def __init__(
        self,
        *,
        categories: CategoryTable,
        device: torch.device,
        precision: str = "fp32",
        image_cap: bool = True,
    ) -> None:
        """Remember how to predict.

        Args:
            categories: of the detector's labels.
            device: where to predict.
            precision: "fp32" or "bf16".
            image_cap: whether the detector's own cap of detections in an image holds.
        """
        self.categories = categories
        self.device = device
        self.precision = precision
        self.image_cap = image_cap

    def __call__(
        self,
        detector: Detector,
        loader: Iterable[Batch],
        facts: RunFacts | None = None,
        folder: Path | None = None,
        *,
        resume: bool = False,
    ) -> list[EvaluationResult]:
        """Predict on all processes, score on the main one; every process gets the results.

        Args:
            detector: on the device; left in evaluation mode.
            loader: every image once over all processes.
            facts: of the run.
            folder: gets predictions, as columns and as JSON, results.json and per_class.csv; None
                writes nothing.
            resume: keep predictions that are in `folder` already; `loader` brings the others.
        """
        facts = facts or RunFacts()
        columns = None if folder is None else folder / "predictions"
        if columns is not None and not resume:
            if distributed.is_main():
                _start(columns, facts)
            distributed.barrier()
        predicted = predict(
            detector,
            loader,
            categories=self.categories,
            device=self.device,
            precision=self.precision,
            folder=columns,
            keep=self.keep(),
            image_cap=self.image_cap,
            watch=None if folder is None else self.watch(),
        )
        results: list[EvaluationResult] = []
        if distributed.is_main():
            nothing = not len(predicted.predictions)
            notes = [why_nothing(detector, loader, self.device)] if nothing else []
            results = [
                _complete(result, predicted, facts, notes)
                for result in self.score(
                    predicted.predictions,
                    image_ids=predicted.image_ids,
                    run=facts.name,
                    resample=folder is not None,
                )
            ]
            self._report(results, predicted.predictions, folder)
            if folder is not None:
                ids = self.categories.dataset_ids
                norms = save_facts(detector, loader, self.device, ids, folder)
                if (diagnosis := self.diagnose(predicted, norms)) is not None:
                    diagnosis.save(folder / DIAGNOSIS_FILE)
        return distributed.broadcast_object(results)

    def watch(self) -> CandidateWatch | None:
        """What is to see the candidates of the detector, for the diagnosis."""
        return None

    def diagnose(
        self, predicted: PredictionRun, norms: Mapping[int, float] | None
    ) -> Diagnosis | None:
        """Why classes fail, where the rules of the data set are those of LVIS or COCO."""
        return None

    @abstractmethod
    def score(
        self,
        predictions: Predictions,
        *,
        image_ids: NDArray[np.int64] | None = None,
        run: str,
        resample: bool,
    ) -> list[EvaluationResult]:
        """Measure `predictions`, the headline first.

        Args:
            predictions: of all images.
            image_ids: that were predicted; None for all. Others, whose file could not be read, say
                nothing of the detector: they leave the evaluation with their objects.
            run: name to put over the numbers.
            resample: numbers on the way need no intervals; those that are kept do.
        """

    def keep(self) -> Keep | None:
        """What of the predictions can count, where there is a cap over all images."""
        return None

    def save(self, predictions: Predictions, folder: Path) -> None:
        """Write predictions as files that other programs read."""
        write_predictions(predictions, folder / "predictions.json")

    def _report(
        self, results: Sequence[EvaluationResult], predictions: Predictions, folder: Path | None
    ) -> None:
        for note in dict.fromkeys(note for result in results for note in result.notes):
            logger.warning("%s", note)
        if folder is not None:
            self.save(predictions, folder)
            save_results(results, folder)

    def predicted_before(self, folder: Path, facts: RunFacts) -> list[int]:
        """Ids of the images that an interrupted evaluation into `folder` has predicted.

        Raises:
            ConfigError: other weights or other settings made these predictions.
        """
        outcome: list[int] | str = ""
        if distributed.is_main():
            outcome = _look(folder / "predictions", facts)
        outcome = distributed.broadcast_object(outcome)
        if isinstance(outcome, str):
            raise ConfigError(outcome)
        return outcome


class DetectorEvaluator(Evaluator):
    """Measures detectors against annotations of LVIS or COCO."""

    def __init__(
        self, ground_truth: GroundTruth, settings: Sequence[ScoreSettings], **options: Any
    ) -> None:
        """Remember against what and how to measure.

        Args:
            ground_truth: of the images that will be predicted.
            settings: one for each protocol and IoU type.
            options: of `Evaluator`.
        """
        super().__init__(**options)
        self.ground_truth = ground_truth
        self.settings = tuple(settings)

    def keep(self) -> Keep | None:
        """What the protocols' caps let count."""
        return Keep.for_protocols([(own.rules, own.all_caps) for own in self.settings])

    def score(
        self,
        predictions: Predictions,
        *,
        image_ids: NDArray[np.int64] | None = None,
        run: str,
        resample: bool,
    ) -> list[EvaluationResult]:
        """One result for each of the settings."""
        truth = self.ground_truth
        if image_ids is not None and len(unread := np.setdiff1d(truth.image_ids, image_ids)):
            note = note_of_unread(unread.tolist(), len(truth.image_ids))
            truth = truth.only_images(image_ids)
            truth = replace(truth, notes=(*truth.notes, note))
        return [
            score(
                truth,
                predictions,
                replace(own, resamples=own.resamples * resample, image_cap=self.image_cap),
                run=run,
            )
            for own in self.settings
        ]

    def watch(self) -> CandidateWatch:
        """Looks at all objects."""
        return CandidateWatch(self.ground_truth)

    def diagnose(
        self, predicted: PredictionRun, norms: Mapping[int, float] | None
    ) -> Diagnosis | None:
        """By the rules of the headline, on the images that could be read."""
        rules, cap = self.settings[0].rules, self.settings[0].all_caps[0]
        return diagnose(
            self.ground_truth.only_images(predicted.image_ids),
            predicted.predictions,
            rules=rules,
            cap=cap,
            norms=norms,
            candidates=predicted.candidates,
        )


def _complete(
    result: EvaluationResult, predicted: PredictionRun, facts: RunFacts, notes: Sequence[str]
) -> EvaluationResult:
    """`result` with what is known of the run."""
    return replace(
        result,
        step=facts.step,
        config=facts.config,
        seconds_per_image=predicted.seconds_per_image,
        notes=(*result.notes, *notes),
    )


def _start(folder: Path, facts: RunFacts) -> None:
    """Clear the folder of predictions and note who makes them."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("part_*.npz"):
        path.unlink()
    text = json.dumps(facts.made_by(), indent=1)
    (folder / MADE_BY).write_text(text + "\n", encoding="utf-8")


def _look(folder: Path, facts: RunFacts) -> list[int] | str:
    """Images that were predicted before, or why they are of no use."""
    made_by = folder / MADE_BY
    if not made_by.is_file():
        _start(folder, facts)
    if json.loads(made_by.read_text(encoding="utf-8")) == facts.made_by():
        return predicted_images(folder).tolist()
    return (
        f"{folder}: --resume: these predictions were made with other weights, settings or images; "
        "leave --resume out to predict anew, or give another --out"
    )
