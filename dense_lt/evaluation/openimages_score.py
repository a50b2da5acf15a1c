"""Score predictions for Open Images: files -> mAP, AP1 .. AP5, per class."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.json_files import read_json
from dense_lt.evaluation.metrics import mean
from dense_lt.evaluation.openimages import average_precision, count_truth, rank_entries
from dense_lt.evaluation.openimages_predictions import (
    OpenImagesPredictions,
    read_openimages_predictions,
)
from dense_lt.evaluation.openimages_truth import OpenImagesTruth, read_truth
from dense_lt.evaluation.results import ClassResult, EvaluationResult, Metrics
from dense_lt.utils.environment import versions
from dense_lt.utils.errors import DataError

GROUPS = 5
"""AP1 .. AP5: classes by rising number of training instances, in fifths (Tan et al. 2021)."""

PROTOCOLS = ("openimages", "openimages-expanded")
"""The challenge's, and one that also copies every detection to all ancestors of its class."""


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
    files: OpenImagesFiles, *, protocol: str = "openimages", run: str = ""
) -> EvaluationResult:
    """Measure a file of predictions.

    Args:
        files: see `read_truth`, `read_openimages_predictions` and `read_train_counts`.
        protocol: one of PROTOCOLS.
        run: name to put over the numbers.

    Raises:
        DataError: a file cannot be used.
    """
    truth = read_truth(files.boxes, files.classes, labels=files.labels, hierarchy=files.hierarchy)
    expanded = protocol == "openimages-expanded"
    found = read_openimages_predictions(files.predictions, truth, expand=expanded)
    counts = None
    if files.train_counts is not None:
        counts = read_train_counts(files.train_counts, truth.classes)
    num_objects = count_truth(truth)
    precision = average_precision(rank_entries(truth, found), num_objects)
    groups = rank_groups(counts) if counts is not None else None
    metrics = group_metrics(precision, groups)
    undefined = _why(metrics, groups)
    return EvaluationResult(
        run=run,
        protocol=protocol,
        iou_type="bbox",
        max_detections=None,
        metrics=metrics,
        by_max_detections={"all": metrics},
        counts=_counts(truth, found, num_objects, groups),
        per_class=_per_class(truth, precision, num_objects, counts, groups),
        rules={
            "iou_thresholds": "0.50",
            "precision": "area under the envelope (VOC 2010), mean over classes with boxes",
            "cap": "none",
            "ties": "score, then ImageID, then row",
            "hierarchy": "ground truth and detections expanded"
            if expanded
            else "ground truth expanded, detections not",
            "backend": "dense_lt",
        },
        undefined=undefined,
        notes=(
            *truth.notes,
            *found.notes,
            *(f"{name} is n/a: {reason}" for name, reason in undefined.items()),
        ),
        versions={k: str(v) for k, v in versions().items() if k in ("dense_lt", "numpy", "python")},
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
        raise DataError(f"{path}: columns LabelName and ...Count are needed, found {header}")
    return {row["LabelName"]: row[counts[0]] for row in rows}


def rank_groups(train_counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(C,) 0 for the fifth of the classes with the fewest training instances, ..., 4."""
    groups = np.empty(len(train_counts), np.int64)
    by_count = np.argsort(train_counts, kind="stable")
    for group, own in enumerate(np.array_split(by_count, GROUPS)):
        groups[own] = group
    return groups


def group_metrics(precision: NDArray[np.float64], groups: NDArray[np.int64] | None) -> Metrics:
    """MAP and AP1 .. AP5 of per-class values (C,); NaN classes are left out."""
    metrics: Metrics = {"mAP": mean(precision)}
    for group in range(GROUPS):
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


def _counts(
    truth: OpenImagesTruth,
    found: OpenImagesPredictions,
    num_objects: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
) -> dict[str, Any]:
    present = num_objects > 0
    return {
        "images": len(truth.image_ids),
        "annotations": len(truth.image),
        "group_of_boxes": int(truth.group_of.sum()),
        "detections": found.rows,
        "detections_evaluated": len(found.scores),
        "categories": len(truth.classes),
        "categories_by_group": _by_group(np.ones_like(present), groups),
        "categories_with_annotations": _by_group(present, groups),
    }


def _by_group(flags: NDArray[np.bool_], groups: NDArray[np.int64] | None) -> dict[str, int] | None:
    if groups is None:
        return None
    return {f"AP{group + 1}": int(flags[groups == group].sum()) for group in range(GROUPS)}


def _per_class(
    truth: OpenImagesTruth,
    precision: NDArray[np.float64],
    num_objects: NDArray[np.int64],
    counts: NDArray[np.int64] | None,
    groups: NDArray[np.int64] | None,
) -> tuple[ClassResult, ...]:
    size = len(truth.classes)
    cells = np.unique(truth.image.astype(np.int64) * size + truth.category)
    images = np.bincount(cells % size, minlength=size)
    results = []
    for index, (own, name) in enumerate(zip(truth.classes, truth.names, strict=True)):
        value = None if np.isnan(precision[index]) else float(precision[index])
        results.append(
            ClassResult(
                category_id=own,
                name=name,
                group=None if groups is None else f"AP{groups[index] + 1}",
                train_images=None,
                train_instances=None if counts is None else int(counts[index]),
                val_images=int(images[index]),
                val_instances=int(num_objects[index]),
                AP=value,
                AP50=value,
            )
        )
    return tuple(results)
