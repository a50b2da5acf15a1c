"""Score predictions for Open Images: files -> mAP, AP1 .. AP5, per class."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.csv_files import shortened
from dense_lt.data.openimages.groups import FIFTHS, rank_groups
from dense_lt.evaluation.intervals import SEED, Samples
from dense_lt.evaluation.json_files import read_json
from dense_lt.evaluation.metrics import mean
from dense_lt.evaluation.openimages import average_precision, count_truth, rank_entries
from dense_lt.evaluation.openimages_bootstrap import bootstrap_openimages
from dense_lt.evaluation.openimages_predictions import (
    OpenImagesPredictions,
    read_openimages_predictions,
)
from dense_lt.evaluation.openimages_truth import OpenImagesTruth, read_truth
from dense_lt.evaluation.results import ClassResult, EvaluationResult, Metrics
from dense_lt.utils.environment import versions
from dense_lt.utils.errors import DataError

HIERARCHY_RULES = {
    "openimages": "ground truth expanded, detections not",
    "openimages-expanded": "ground truth and detections expanded",
}
"""Protocol -> what holds for ancestors. The first is the challenge's."""

RULES = {
    "iou_thresholds": "0.50",
    "precision": "area under the envelope (VOC 2010), mean over classes with boxes",
    "cap": "none",
    "ties": "score, then ImageID, then row",
    "backend": "dense_lt",
}
"""What holds for both."""


@dataclass(frozen=True)
class OpenImagesFiles:
    """What is scored against what."""

    predictions: Path
    boxes: Path
    classes: Path
    labels: Path | None = None
    hierarchy: Path | None = None
    train_counts: Path | None = None


def score_openimages(
    files: OpenImagesFiles, *, protocol: str = "openimages", resamples: int = 0, run: str = ""
) -> EvaluationResult:
    """Measure a file of predictions.

    Args:
        files: see `read_truth`, `read_openimages_predictions` and `read_train_counts`.
        protocol: a key of HIERARCHY_RULES.
        resamples: of the images, for intervals; 0 makes none.
        run: name to put over the numbers.

    Raises:
        DataError: a file cannot be used.
    """
    truth = read_truth(files.boxes, files.classes, labels=files.labels, hierarchy=files.hierarchy)
    found = read_openimages_predictions(
        files.predictions, truth, expand=protocol == "openimages-expanded"
    )
    counts = None
    if files.train_counts is not None:
        counts = read_train_counts(files.train_counts, truth.classes)
    return score_columns(truth, found, counts, protocol=protocol, resamples=resamples, run=run)


def score_columns(
    truth: OpenImagesTruth,
    found: OpenImagesPredictions,
    counts: NDArray[np.int64] | None,
    *,
    protocol: str = "openimages",
    resamples: int = 0,
    run: str = "",
) -> EvaluationResult:
    """Measure predictions in memory.

    Args:
        truth: see `read_truth`.
        found: what is evaluated; expanded already, if the protocol says so.
        counts: (C,) training instances, for AP1 .. AP5; None leaves them undefined.
        protocol: a key of HIERARCHY_RULES.
        resamples: of the images, for intervals; 0 makes none.
        run: name to put over the numbers.
    """
    entries = rank_entries(truth, found)
    measured = _Measured(truth, average_precision(entries, count_truth(truth)), counts)
    samples = None
    if resamples:
        samples = bootstrap_openimages(
            truth, entries, measured.groups, resamples=resamples, seed=SEED
        )
    return _result(measured, found, samples, protocol=protocol, run=run)


class _Measured:
    """Per class: average precision (C,), training counts (C,) and their fifths (C,), if known."""

    def __init__(
        self,
        truth: OpenImagesTruth,
        precision: NDArray[np.float64],
        counts: NDArray[np.int64] | None,
    ) -> None:
        self.truth = truth
        self.precision = precision
        self.counts = counts
        self.groups = None if counts is None else rank_groups(counts)


def _result(
    measured: _Measured,
    found: OpenImagesPredictions,
    samples: Samples | None,
    *,
    protocol: str,
    run: str,
) -> EvaluationResult:
    metrics = group_metrics(measured.precision, measured.groups)
    undefined = _why(metrics, measured.groups)
    used = ("dense_lt", "numpy", "python")
    return EvaluationResult(
        run=run,
        protocol=protocol,
        iou_type="bbox",
        max_detections=None,
        metrics=metrics,
        by_max_detections={"all": metrics},
        counts=_counts(measured, found),
        per_class=_per_class(measured),
        rules=RULES | {"hierarchy": HIERARCHY_RULES[protocol]},
        samples=samples,
        intervals=None if samples is None else samples.summary(metrics),
        undefined=undefined,
        notes=(
            *measured.truth.notes,
            *found.notes,
            *(f"{name} is n/a: {reason}" for name, reason in undefined.items()),
        ),
        versions={name: str(own) for name, own in versions().items() if name in used},
    )


def read_train_counts(path: Path, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Training instances of every class: JSON {machine id: count}, or CSV with a header.

    Of a CSV, the columns `LabelName` and the one whose name ends in Count are read.

    Raises:
        DataError: the file cannot be read, or a class is missing.
    """
    stored = read_json(path) if path.suffix == ".json" else _read_count_csv(path)
    missing = [own for own in classes if own not in stored]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(classes)} classes have no training count, such as "
            f"{missing[0]}; AP1 .. AP5 need all of them"
        )
    return np.array([int(stored[own]) for own in classes], dtype=np.int64)


def _read_count_csv(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    header = list(rows[0]) if rows else []
    counts = [name for name in header if name.lower().endswith("count")]
    if "LabelName" not in header or not counts:
        found = shortened(header) or "no rows"
        raise DataError(f"{path}: columns LabelName and ...Count are needed, found {found}")
    return {row["LabelName"]: row[counts[0]] for row in rows}


def group_metrics(precision: NDArray[np.float64], groups: NDArray[np.int64] | None) -> Metrics:
    """MAP and AP1 .. AP5 of per-class values (C,); NaN classes are left out."""
    metrics: Metrics = {"mAP": mean(precision)}
    for group in range(FIFTHS):
        own = precision[groups == group] if groups is not None else precision[:0]
        metrics[f"AP{group + 1}"] = mean(own)
    return metrics


def _why(metrics: Metrics, groups: NDArray[np.int64] | None) -> dict[str, str]:
    reason = "training counts are not known (--train-counts)"
    if groups is not None:
        reason = "no class of this fifth has ground truth"
    return {
        name: "there is no ground truth" if name == "mAP" else reason
        for name, value in metrics.items()
        if value is None
    }


def _counts(measured: _Measured, found: OpenImagesPredictions) -> dict[str, Any]:
    truth = measured.truth
    present = count_truth(truth) > 0
    return {
        "images": len(truth.image_ids),
        "annotations": len(truth.image),
        "group_of_boxes": int(truth.group_of.sum()),
        "detections": found.rows,
        "detections_evaluated": len(found.scores),
        "categories": len(truth.classes),
        "categories_by_group": _by_group(np.ones_like(present), measured.groups),
        "categories_with_annotations": _by_group(present, measured.groups),
    }


def _by_group(flags: NDArray[np.bool_], groups: NDArray[np.int64] | None) -> dict[str, int] | None:
    if groups is None:
        return None
    return {f"AP{group + 1}": int(flags[groups == group].sum()) for group in range(FIFTHS)}


def _per_class(measured: _Measured) -> tuple[ClassResult, ...]:
    truth, counts, groups = measured.truth, measured.counts, measured.groups
    size = len(truth.classes)
    cells = np.unique(truth.image.astype(np.int64) * size + truth.category)
    images, objects = np.bincount(cells % size, minlength=size), count_truth(truth)
    results = []
    for index, (own, name) in enumerate(zip(truth.classes, truth.names, strict=True)):
        value = measured.precision[index]
        precision = None if np.isnan(value) else float(value)
        results.append(
            ClassResult(
                category_id=own,
                name=name,
                group=None if groups is None else f"AP{groups[index] + 1}",
                train_images=None,
                train_instances=None if counts is None else int(counts[index]),
                val_images=int(images[index]),
                val_instances=int(objects[index]),
                AP=precision,
                AP50=precision,
            )
        )
    return tuple(results)
