"""AP-pool: one precision-recall curve over all classes, which asks whether scores can be compared.

Detections are matched per class as usual; then true positives, false positives and objects of all
classes of a group are ranked together by score.

Source: Dave et al. 2021, "Evaluating large-vocabulary object detectors". Among equal
scores: image, then category, then input order, as in the authors' code.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.categories import GROUPS
from dense_lt.evaluation.bootstrap import bootstrap
from dense_lt.evaluation.ground_truth import GroundTruth
from dense_lt.evaluation.intervals import Samples
from dense_lt.evaluation.lvis import Matched
from dense_lt.evaluation.matching import Matches
from dense_lt.evaluation.metrics import mean, precision_metrics, recall_metrics
from dense_lt.evaluation.ranking import Ranking
from dense_lt.evaluation.results import Metrics
from dense_lt.evaluation.rules import ALL_SIZES


def pool(matched: Matched, categories: NDArray[np.integer]) -> Matched:
    """`matched` with the `categories` taken as one single category, and without the others."""
    ranking, objects = matched.ranking, matched.objects
    rows = np.flatnonzero(np.isin(ranking.category, categories))
    rows = rows[np.argsort(ranking.image[rows], kind="stable")]
    rows = rows[np.argsort(-ranking.scores[rows], kind="stable")]
    columns = {
        column.name: getattr(ranking, column.name)[rows]
        for column in fields(Ranking)
        if column.name not in ("category", "masks")
    }
    own = np.flatnonzero(np.isin(objects.category, categories))
    return Matched(
        objects=replace(
            objects,
            image=objects.image[own],
            category=np.zeros(len(own), np.int32),
            boxes=objects.boxes[own],
            areas=objects.areas[own],
            mask_areas=objects.mask_areas[own],
            ignore=objects.ignore[own],
            crowd=objects.crowd[own],
            masks=None,
        ),
        ranking=Ranking(category=np.zeros(len(rows), np.int32), masks=None, **columns),
        matches=_reorder(matched.matches, rows, len(ranking)),
        num_objects=matched.num_objects[:, categories].sum(axis=1, keepdims=True),
    )


def _reorder(matches: Matches, rows: NDArray[np.int64], size: int) -> Matches:
    """Matches when row rows[i] of the ranking of `size` becomes row i."""
    new_row = np.full(size, -1)
    new_row[rows] = np.arange(len(rows))
    detection = new_row[matches.detection]
    order = np.argsort(detection, kind="stable")
    order = order[detection[order] >= 0]
    return Matches(detection[order], matches.matched[:, :, order], matches.found[:, :, order])


def pooled_metrics(matched: Matched, ground_truth: GroundTruth, cap: int) -> Metrics:
    """AP-pool by size and by frequency group, under the usual names."""
    everything = pool(matched, np.arange(len(ground_truth.names))).curves(cap)
    metrics = precision_metrics(everything, replace(ground_truth, groups=None))
    for group in GROUPS:
        curves = pool(matched, ground_truth.labels_in_group(group)).curves(cap)
        metrics[f"AP{group[0]}"] = mean(curves.average_precision()[ALL_SIZES])
    return metrics | recall_metrics(everything, cap)


def pooled_samples(
    matched: Matched, ground_truth: GroundTruth, *, cap: int, resamples: int, seed: int
) -> Samples:
    """Resamples of the headline numbers of AP-pool."""
    ungrouped = replace(ground_truth, groups=None)

    def of(categories: NDArray[np.integer]) -> Samples:
        own = pool(matched, categories)
        return bootstrap(own, ungrouped, cap=cap, resamples=resamples, seed=seed)

    everything = of(np.arange(len(ground_truth.names)))
    values = dict(everything.values)
    for group in GROUPS:
        values[f"AP{group[0]}"] = of(ground_truth.labels_in_group(group)).values["AP"]
    return Samples(values, everything.drawn)
