"""From curves to the numbers with official names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.categories import GROUPS
from dense_lt.evaluation.curves import Curves
from dense_lt.evaluation.ground_truth import GroundTruth
from dense_lt.evaluation.results import Metrics
from dense_lt.evaluation.rules import ALL_SIZES, IOU_THRESHOLDS, SIZE_NAMES

AT_50, AT_75 = (int(np.argmin(np.abs(IOU_THRESHOLDS - value))) for value in (0.5, 0.75))
"""Indices of the IoU thresholds with a number of their own."""


def mean(values: NDArray[np.float64]) -> float | None:
    """Mean of what is defined; None if nothing is."""
    values = values[~np.isnan(values)]
    return float(np.mean(values)) if len(values) else None


def precision_metrics(curves: Curves, ground_truth: GroundTruth) -> Metrics:
    """AP, AP50, AP75, by size (s, m, l) and by frequency group (r, c, f)."""
    precision = curves.average_precision()
    metrics: Metrics = {
        "AP": mean(precision[ALL_SIZES]),
        "AP50": mean(precision[ALL_SIZES, AT_50]),
        "AP75": mean(precision[ALL_SIZES, AT_75]),
    }
    for size, name in enumerate(SIZE_NAMES):
        if size != ALL_SIZES:
            metrics[f"AP{name[0]}"] = mean(precision[size])
    for group in GROUPS:
        labels = ground_truth.labels_in_group(group)
        metrics[f"AP{group[0]}"] = mean(precision[ALL_SIZES][:, labels])
    return metrics


def recall_metrics(curves: Curves, cap: int) -> Metrics:
    """AR@cap, ARs@cap, ARm@cap, ARl@cap."""
    return {
        f"AR{'' if size == ALL_SIZES else name[0]}@{cap}": mean(curves.recall[size])
        for size, name in enumerate(SIZE_NAMES)
    }


def class_metrics(curves: Curves, ground_truth: GroundTruth, cap: int) -> Metrics:
    """The numbers of LVIS: means over classes."""
    return precision_metrics(curves, ground_truth) | recall_metrics(curves, cap)


def class_precision(curves: Curves) -> tuple[list[float | None], list[float | None]]:
    """AP and AP50 of every category; None without ground truth."""
    per_class = curves.average_precision()[ALL_SIZES]  # (T, C)
    ap, ap50 = per_class.mean(axis=0), per_class[AT_50]
    return _optional(ap), _optional(ap50)


def _optional(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
