"""AP-fixed and AP-pool against the `lvis` package, capped and pooled by hand."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from helpers.evaluation_cases import make_case
from helpers.evaluation_oracle import assert_same, columns

from dense_lt.evaluation.curves import Curves
from dense_lt.evaluation.lvis import match_detections
from dense_lt.evaluation.official import evaluate_lvis
from dense_lt.evaluation.pooled import pool
from dense_lt.evaluation.rules import FIXED, RECALL_POINTS
from dense_lt.evaluation.score import ScoreSettings, score

CAP = 10
Records = list[dict[str, Any]]


def _best_of_each_category(records: Records) -> Records:
    """As the authors cut: per category, by falling score, ties in the order of the file."""
    by_category: dict[int, Records] = defaultdict(list)
    for record in records:
        by_category[record["category_id"]].append(record)
    return [
        record
        for own in by_category.values()
        for record in sorted(own, key=lambda record: -record["score"])[:CAP]
    ]


def _package(document: dict[str, Any], records: Records) -> Any:
    return evaluate_lvis(document, _best_of_each_category(records), "bbox", -1)


@pytest.mark.parametrize("seed", range(15))
def test_fixed_equals_the_package_on_the_best_of_each_category(seed: int) -> None:
    document, records = make_case(seed, images=12)
    matched = match_detections(*columns(document, records), FIXED, caps=(CAP,))
    found = _package(document, records).eval
    precision, recall = found["precision"].transpose(3, 0, 2, 1), found["recall"]
    expected = Curves(
        np.where(precision < 0, np.nan, precision),
        np.where(recall < 0, np.nan, recall).transpose(2, 0, 1),
    )
    assert_same(matched.curves(CAP), expected)


@pytest.mark.parametrize("seed", range(15))
def test_pooled_curves_equal_the_packages_matches_pooled(seed: int) -> None:
    document, records = make_case(seed, images=12)
    matched = match_detections(*columns(document, records), FIXED, caps=(CAP,))
    package = _package(document, records)
    for categories in ([0, 1, 2, 3, 4], [1, 3]):
        ours = pool(matched, np.array(categories)).curves(CAP)
        expected = _pooled_precision(package, categories)
        np.testing.assert_allclose(ours.precision[0, :, 0], expected, rtol=0, atol=1e-12)


def _pooled_precision(package: Any, categories: list[int]) -> np.ndarray:
    """(T, R) over all sizes: image after image, in each category after category."""
    images = len(package.params.img_ids)
    cells = [
        package.eval_imgs[category * 4 * images + image]
        for image in range(images)
        for category in categories
    ]
    cells = [cell for cell in cells if cell is not None]
    scores = np.concatenate([cell["dt_scores"] for cell in cells])
    order = np.argsort(-scores, kind="stable")
    matched = np.concatenate([cell["dt_matches"] for cell in cells], axis=1)[:, order] > 0
    ignored = np.concatenate([cell["dt_ignore"] for cell in cells], axis=1)[:, order] > 0
    objects = sum(np.count_nonzero(cell["gt_ignore"] == 0) for cell in cells)
    precision = np.zeros((len(matched), len(RECALL_POINTS)))
    for row, (true, false) in enumerate(zip(matched & ~ignored, ~matched & ~ignored, strict=True)):
        trues, falses = np.cumsum(true), np.cumsum(false)
        value = trues / (trues + falses + np.spacing(1))
        for column, point in enumerate(RECALL_POINTS):
            reached = trues / objects >= point
            precision[row, column] = value[reached].max() if reached.any() else 0
    return precision


def test_pooling_asks_whether_scores_can_be_compared() -> None:
    """Each class alone is perfect. Pooled, B's false positive stands above A's object.

    A: object found at 0.3. B: object found at 0.9, false positive at 0.6. Pooled: TP, FP, TP:
    precision 1 up to recall 1/2 (51 points), 2/3 above (50 points).
    """
    box, far = [10.0, 10.0, 20.0, 20.0], [60.0, 60.0, 20.0, 20.0]
    document = {
        "images": [{"id": 1, "height": 99, "width": 99, "neg_category_ids": []}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": i, "bbox": box, "area": 400} for i in (1, 2)
        ],
        "categories": [{"id": i, "name": "x", "frequency": "r"} for i in (1, 2)],
    }
    records = [
        {"image_id": 1, "category_id": category_id, "bbox": own, "score": score_}
        for category_id, own, score_ in ((1, box, 0.3), (2, box, 0.9), (2, far, 0.6))
    ]
    truth, found = columns(document, records)
    fixed = score(truth, found, ScoreSettings(protocol="fixed"))
    pooled = score(truth, found, ScoreSettings(protocol="pool"))
    assert fixed.metrics["AP"] == pytest.approx(1)
    assert pooled.metrics["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert pooled.metrics["APr"] == pooled.metrics["AP"]
    assert pooled.metrics["APf"] is None


def test_pooled_results_have_intervals() -> None:
    truth, found = columns(*make_case(0, images=20))
    result = score(truth, found, ScoreSettings(protocol="pool", resamples=50))
    assert result.intervals is not None
    low, high = result.intervals["metrics"]["AP"]
    assert low < (result.metrics["AP"] or 0) < high


def test_too_few_detections_for_the_protocol_are_noted() -> None:
    truth, found = columns(*make_case(0))
    result = score(truth, found, ScoreSettings(protocol="fixed"))
    assert any("5 of 5 categories have fewer than 10,000 detections" in n for n in result.notes)
