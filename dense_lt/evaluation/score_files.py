"""Score a predictions file against an annotation file. No torch import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dense_lt.data.categories import CategoryTable
from dense_lt.evaluation.annotations import read_ground_truth
from dense_lt.evaluation.ground_truth import GroundTruth
from dense_lt.evaluation.json_files import read_json
from dense_lt.evaluation.metrics import class_metrics
from dense_lt.evaluation.official import official_curves
from dense_lt.evaluation.prediction_files import read_predictions
from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.results import EvaluationResult
from dense_lt.evaluation.score import Backend, ScoreSettings, score, summarise
from dense_lt.utils.errors import DataError


def score_files(
    ground_truth: Path,
    predictions: Path,
    settings: ScoreSettings,
    *,
    training: CategoryTable | None = None,
    backend: Backend = "ours",
    run: str = "",
) -> EvaluationResult:
    """Read both files and measure.

    Args:
        ground_truth: LVIS or COCO annotations.
        predictions: JSON list of detections, npz file or folder of them.
        settings: what to measure.
        training: frequency groups and counts of the training set; None takes what is in
            `ground_truth`.
        backend: "ours", or the official package of the protocol.
        run: name to put over the numbers.

    Raises:
        DataError: a file cannot be used, or the two do not belong together.
    """
    files = FilesToScore(ground_truth, predictions, training)
    return files.score(settings, backend=backend, run=run)


class FilesToScore:
    """An annotation file and a predictions file, each read once however often they are scored."""

    def __init__(
        self,
        ground_truth: Path,
        predictions: Path,
        training: CategoryTable | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """Remember them, and `notes` for the results; see `score_files`."""
        self._paths = (ground_truth, predictions)
        self._training = training
        self._notes = tuple(notes)
        self._inputs: dict[bool, tuple[GroundTruth, Predictions]] = {}

    def score(
        self, settings: ScoreSettings, *, backend: Backend = "ours", run: str = ""
    ) -> EvaluationResult:
        """Measure; see `score_files`.

        Raises:
            DataError: a file cannot be used, or the two do not belong together.
        """
        truth, found = self._read(settings)
        if backend == "ours":
            return score(truth, found, settings, run=run)
        if settings.calibration is not None:
            raise DataError(
                f"{settings.calibration.label}: --backend {backend} scores what the file says; "
                "leave one out"
            )
        document, records = map(read_json, self._paths)
        curves = official_curves(document, records, settings, backend)
        by_cap = {cap: class_metrics(curves[cap], truth, cap) for cap in settings.all_caps}
        first = curves[settings.all_caps[0]]
        return summarise(truth, found, by_cap, first, settings, run=run, backend=backend)

    def _read(self, settings: ScoreSettings) -> tuple[GroundTruth, Predictions]:
        masks = settings.iou_type != "bbox"
        if masks not in self._inputs:
            truth, found = read_inputs(*self._paths, settings)
            if self._training is not None:
                truth = truth.with_training_counts(self._training)
            truth = replace(truth, notes=(*truth.notes, *self._notes))
            self._inputs[masks] = (truth, found)
        return self._inputs[masks]


def read_inputs(
    ground_truth: Path, predictions: Path, settings: ScoreSettings
) -> tuple[GroundTruth, Predictions]:
    """Read both files as far as `settings` need them; notes on both are the ground truth's.

    Raises:
        DataError: one cannot be read or is broken.
    """
    masks = settings.iou_type != "bbox"
    truth = read_ground_truth(ground_truth, masks=masks)
    sizes = [(height, width) for height, width in truth.image_sizes.tolist()]
    by_id = dict(zip(truth.image_ids.tolist(), sizes, strict=True))
    notes: list[str] = []
    found = read_predictions(predictions, masks=masks, sizes=by_id, notes=notes)
    if masks and len(found) and found.masks is None:
        raise DataError(
            f"{predictions}: holds no masks, but --iou-type {settings.iou_type} needs them"
        )
    return replace(truth, notes=(*truth.notes, *notes)), found
