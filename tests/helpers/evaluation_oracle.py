"""Our curves beside those of the official packages, for the same document and records."""

from __future__ import annotations

from typing import Any

import numpy as np

from dense_lt.evaluation.annotations import ground_truth_from
from dense_lt.evaluation.curves import Curves
from dense_lt.evaluation.ground_truth import GroundTruth
from dense_lt.evaluation.lvis import match_detections
from dense_lt.evaluation.metrics import precision_metrics, recall_metrics
from dense_lt.evaluation.official import evaluate_lvis, official_curves
from dense_lt.evaluation.prediction_files import predictions_from
from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.rules import IouType
from dense_lt.evaluation.score import ScoreSettings

Document = dict[str, Any]
Records = list[dict[str, Any]]


def columns(
    document: Document, records: Records, iou_type: IouType = "bbox"
) -> tuple[GroundTruth, Predictions]:
    """Both as columns."""
    masks = iou_type == "segm"
    sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
    truth = ground_truth_from(document, source="gt.json", masks=masks)
    return truth, predictions_from(records, "found.json", masks=masks, sizes=sizes)


def assert_equal_to_package(document: Document, records: Records, settings: ScoreSettings) -> None:
    """Precision and recall of every class, threshold and size are those of the package."""
    truth, found = columns(document, records, settings.iou_type)
    matched = match_detections(
        truth,
        found,
        settings.rules,
        caps=settings.all_caps,
        iou_type=settings.iou_type,
        mask_area=settings.mask_area,
    )
    backend = "pycocotools" if settings.protocol == "coco" else "lvis"
    expected = official_curves(document, records, settings, backend)
    for cap in settings.all_caps:
        assert_same(matched.curves(cap), expected[cap])


def assert_same(ours: Curves, expected: Curves) -> None:
    """NaN in the same places, numbers within 1e-12."""
    np.testing.assert_allclose(ours.precision, expected.precision, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.recall, expected.recall, rtol=0, atol=1e-12)


def assert_same_summary(document: Document, records: Records, iou_type: IouType = "bbox") -> None:
    """The thirteen numbers that the lvis package prints, -1 where undefined."""
    truth, found = columns(document, records, iou_type)
    settings = ScoreSettings(iou_type=iou_type, mask_area="box")
    curves = match_detections(
        truth, found, settings.rules, caps=(300,), iou_type=iou_type, mask_area="box"
    ).curves(300)
    ours = precision_metrics(curves, truth) | recall_metrics(curves, 300)
    expected = evaluate_lvis(document, records, iou_type).results
    assert set(ours) == set(expected)
    for name, value in expected.items():
        own = ours[name]
        assert abs((-1 if own is None else own) - value) < 1e-12, name
