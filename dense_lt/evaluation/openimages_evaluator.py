"""Score a detector on Open Images by the challenge's rules, while it is trained and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.openimages.classes import class_index
from dense_lt.data.table import AnnotationTable
from dense_lt.evaluation.evaluator import Evaluator
from dense_lt.evaluation.ground_truth import look_up
from dense_lt.evaluation.openimages_predictions import (
    select_predictions,
    write_openimages_predictions,
)
from dense_lt.evaluation.openimages_score import score_columns
from dense_lt.evaluation.openimages_truth import OpenImagesTruth
from dense_lt.evaluation.predict import note_of_unread
from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.results import EvaluationResult


class OpenImagesEvaluator(Evaluator):
    """Measures detectors against boxes and verified labels of Open Images."""

    def __init__(
        self,
        truth: OpenImagesTruth,
        table: AnnotationTable,
        protocols: Sequence[str],
        *,
        resamples: int = 0,
        **options: Any,
    ) -> None:
        """Remember against what and how to measure.

        Args:
            truth: of the images that will be predicted.
            table: the same images as the data set has them; gives their names and sizes.
            protocols: "openimages" and "openimages-expanded", the headline first.
            resamples: of the images, for intervals around the numbers that are kept.
            options: of `Evaluator`; its categories are those of training.
        """
        super().__init__(**options)
        self.truth = truth
        self.protocols = tuple(protocols)
        self.resamples = resamples
        self._image_ids = table.image_ids  # rising
        self._names = np.array([Path(table.file_names[i]).stem for i in range(len(table))], "S")
        self._sides = np.stack([table.widths, table.heights] * 2, axis=1)
        self._classes = np.array(self.categories.dataset_ids, "S")
        own = class_index(
            np.array(truth.classes, "S"), tuple(map(str, self.categories.dataset_ids))
        )
        self._counts = np.array(self.categories.instance_counts, np.int64)[own]

    def score(
        self,
        predictions: Predictions,
        *,
        image_ids: NDArray[np.int64] | None = None,
        run: str,
        resample: bool,
    ) -> list[EvaluationResult]:
        """One result for each protocol."""
        columns = self._columns(predictions)
        truth = self._without_unread(image_ids)
        return [
            score_columns(
                truth,
                select_predictions(truth, *columns, expand=protocol == "openimages-expanded"),
                self._counts,
                protocol=protocol,
                resamples=self.resamples * resample,
                run=run,
            )
            for protocol in self.protocols
        ]

    def _without_unread(self, image_ids: NDArray[np.int64] | None) -> OpenImagesTruth:
        if image_ids is None:
            return self.truth
        names = self._names[~np.isin(self._image_ids, image_ids)]
        unread = np.isin(self.truth.image_ids, names)
        if not unread.any():
            return self.truth
        shown = self.truth.image_ids[unread].astype(str).tolist()
        truth = self.truth.only_images(self.truth.image_ids[~unread])
        note = note_of_unread(shown, len(unread))
        return replace(truth, notes=(*truth.notes, note))

    def save(self, predictions: Predictions, folder: Path) -> None:
        """Write the challenge's CSV file as well."""
        super().save(predictions, folder)
        columns = self._columns(predictions)
        write_openimages_predictions(
            folder / "predictions.csv",
            image_ids=columns.image_ids.astype(str).tolist(),
            classes=columns.classes.astype(str).tolist(),
            scores=columns.scores,
            boxes=columns.boxes,
        )

    def _columns(self, predictions: Predictions) -> _Columns:
        assert predictions.boxes is not None, "a detector predicts boxes"
        image, _ = look_up(self._image_ids, predictions.image_ids)
        label, _ = look_up(np.arange(1, len(self._classes) + 1), predictions.category_ids)
        boxes = predictions.boxes.astype(np.float64)
        boxes[:, 2:] += boxes[:, :2]
        return _Columns(
            image_ids=self._names[image],
            classes=self._classes[label],
            scores=predictions.scores.astype(np.float64),
            boxes=boxes / self._sides[image],
        )


class _Columns(NamedTuple):
    """D detections in the challenge's terms."""

    image_ids: NDArray[np.bytes_]
    classes: NDArray[np.bytes_]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64]  # (D, 4) x1 y1 x2 y2, fractions of the image
