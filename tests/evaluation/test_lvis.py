"""Our numbers against the official packages', and against hand-made ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.evaluation_cases import make_case
from helpers.evaluation_oracle import assert_equal_to_package, assert_same_summary, columns
from hypothesis import given, settings
from hypothesis import strategies as st

from dense_lt.evaluation.lvis import match_detections
from dense_lt.evaluation.official import evaluate_lvis
from dense_lt.evaluation.rules import LVIS
from dense_lt.evaluation.score import ScoreSettings

REAL_DATA = os.environ.get("DENSE_LT_REAL_DATA")


@pytest.mark.parametrize("seed", range(20))
def test_boxes_equal_the_lvis_package(seed: int) -> None:
    document, records = make_case(seed, images=12)
    assert_equal_to_package(document, records, ScoreSettings())
    assert_same_summary(document, records)


@pytest.mark.parametrize("seed", range(10))
def test_a_cap_below_the_number_of_detections_equals_the_lvis_package(seed: int) -> None:
    document, records = make_case(seed, detections=30)
    assert_equal_to_package(document, records, ScoreSettings(caps=(7, 20, 1)))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("mask_area", ["mask", "box"])
def test_masks_equal_the_lvis_package(seed: int, mask_area: Any) -> None:
    document, records = make_case(seed, masks=True, detections=20)
    options = ScoreSettings(iou_type="segm", mask_area=mask_area, caps=(9,))
    assert_equal_to_package(document, records, options)
    assert_same_summary(document, records, "segm")


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_coco_rules_equal_pycocotools(seed: int, iou_type: Any) -> None:
    document, records = make_case(seed, coco=True, masks=iou_type == "segm", detections=30)
    options = ScoreSettings(protocol="coco", iou_type=iou_type, mask_area="box", caps=(10, 3, 1))
    assert_equal_to_package(document, records, options)


def test_masks_without_any_overlap_are_scored() -> None:
    """No pair is left for pycocotools; found by fuzzing."""
    document, records = make_case(0, masks=True, images=1, objects=3)
    for record in records:
        record["segmentation"] = [[0, 0, 0, 1, 1, 1]]
    options = ScoreSettings(iou_type="segm", mask_area="box")
    assert_equal_to_package(document, records, options)


def test_more_than_300_detections_in_an_image_are_cut_over_all_categories() -> None:
    document, records = make_case(1, images=2, objects=12, detections=1100, ties=False)
    assert max(np.bincount([record["image_id"] for record in records])) > 300
    assert_equal_to_package(document, records, ScoreSettings())


@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 4),
    categories=st.integers(2, 5),
    detections=st.integers(1, 15),
    cap=st.integers(1, 15),
)
@settings(max_examples=150, deadline=None)
def test_any_small_case_equals_the_lvis_package(
    seed: int, images: int, categories: int, detections: int, cap: int
) -> None:
    document, records = make_case(seed, images=images, categories=categories, detections=detections)
    if records:
        assert_equal_to_package(document, records, ScoreSettings(caps=(cap,)))


@pytest.mark.slow
@given(seed=st.integers(0, 2**32 - 1), cap=st.integers(1, 25), ties=st.booleans())
@settings(max_examples=3000, deadline=None)
def test_thousands_of_cases_equal_the_packages(seed: int, cap: int, ties: bool) -> None:
    document, records = make_case(seed, detections=25, ties=ties)
    if records:
        assert_equal_to_package(document, records, ScoreSettings(caps=(cap,)))
    document, records = make_case(seed, detections=25, ties=ties, coco=True)
    if records:
        assert_equal_to_package(document, records, ScoreSettings(protocol="coco", caps=(cap,)))


def test_plain_coco_files_count_every_category_as_looked_for() -> None:
    document, records = make_case(4, coco=True, images=12)
    for annotation in document["annotations"]:
        annotation["iscrowd"] = 0
    for category in document["categories"]:
        del category["frequency"]
    assert_equal_to_package(document, records, ScoreSettings())


def _one_image(objects: list[list[float]], **image: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "height": 100, "width": 100, "neg_category_ids": [], **image}],
        "annotations": [
            {"id": index, "image_id": 1, "category_id": 1, "bbox": box, "area": box[2] * box[3]}
            for index, box in enumerate(objects)
        ],
        "categories": [{"id": 1, "name": "cup", "frequency": "r"}],
    }


def _found(*boxes: list[float]) -> list[dict[str, Any]]:
    return [
        {"image_id": 1, "category_id": 1, "bbox": box, "score": 0.9 - 0.1 * index}
        for index, box in enumerate(boxes)
    ]


def _precision(document: dict[str, Any], records: list[dict[str, Any]]) -> float:
    truth, found = columns(document, records)
    curves = match_detections(truth, found, LVIS, caps=(300,)).curves(300)
    return float(curves.precision[0, 0, 0].mean())


CUP, FAR = [10.0, 10.0, 20.0, 20.0], [60.0, 60.0, 20.0, 20.0]


def test_a_perfect_detection_has_precision_one_up_to_its_recall() -> None:
    """One of two objects found: precision 1 at recall 0 .. 0.50, 0 above: 51 of 101 points."""
    assert _precision(_one_image([CUP, FAR]), _found(CUP)) == pytest.approx(51 / 101)


def test_a_false_positive_above_halves_the_precision() -> None:
    assert _precision(_one_image([CUP]), _found(FAR, CUP)) == pytest.approx(1 / 2)


def test_a_second_detection_of_the_same_object_is_a_false_positive() -> None:
    """Precision 1, then 1/2, then 2/3: at recall above 0.5 it is 2/3 (50 of 101 points)."""
    found = _precision(_one_image([CUP, FAR]), _found(CUP, CUP, FAR))
    assert found == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_an_annotation_with_id_0_can_be_found() -> None:
    assert _precision(_one_image([CUP]), _found(CUP)) == pytest.approx(1.0)


def test_annotations_that_share_an_id_are_objects_of_their_own() -> None:
    """The package takes the last in place of all: FAR twice, of which one is found."""
    document = _one_image([CUP, FAR], not_exhaustive_category_ids=[])
    for annotation in document["annotations"]:
        annotation["id"] = 7
    assert _precision(document, _found(CUP, FAR)) == pytest.approx(1.0)
    package = evaluate_lvis(document, _found(FAR), "bbox").eval["precision"]
    assert package[0, :, 0, 0].mean() == pytest.approx(51 / 101)
    assert evaluate_lvis(document, _found(CUP), "bbox").eval["precision"][0, :, 0, 0].mean() == 0


def test_unmatched_detections_of_a_not_exhaustive_category_do_not_count() -> None:
    document = _one_image([CUP], not_exhaustive_category_ids=[1])
    assert _precision(document, _found(FAR, CUP)) == pytest.approx(1.0)


def test_detections_of_an_unchecked_category_do_not_count() -> None:
    document = _one_image([CUP])
    document["images"].append({"id": 2, "height": 100, "width": 100, "neg_category_ids": []})
    elsewhere = [{**record, "image_id": 2, "score": 1.0} for record in _found(FAR)]
    assert _precision(document, elsewhere + _found(CUP)) == pytest.approx(1.0)
    document["images"][1]["neg_category_ids"] = [1]
    assert _precision(document, elsewhere + _found(CUP)) == pytest.approx(1 / 2)


def test_a_category_without_ground_truth_is_undefined() -> None:
    document = _one_image([])
    document["images"][0]["neg_category_ids"] = [1]
    assert np.isnan(_precision(document, _found(CUP)))


@pytest.mark.skipif(REAL_DATA is None, reason="DENSE_LT_REAL_DATA names no folder of real data")
@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_real_lvis_annotations_equal_the_lvis_package(iou_type: Any) -> None:
    path = Path(str(REAL_DATA)) / "lvis_v0.5_val_100.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    records = _simulate(document, np.random.default_rng(0), masks=iou_type == "segm")
    assert_same_summary(document, records, iou_type)
    assert_equal_to_package(
        document, records, ScoreSettings(iou_type=iou_type, mask_area="box", caps=(300, 20))
    )


def _simulate(
    document: dict[str, Any], rng: np.random.Generator, *, masks: bool
) -> list[dict[str, Any]]:
    """Jittered copies of the objects, and confusions with categories known to be absent."""
    absent = {image["id"]: image["neg_category_ids"] for image in document["images"]}
    records = []
    for annotation in document["annotations"]:
        for _ in range(rng.integers(0, 25)):
            box = (np.array(annotation["bbox"]) + rng.normal(0, 3, 4)).clip(1).tolist()
            category_id = annotation["category_id"]
            if rng.random() < 0.3 and absent[annotation["image_id"]]:
                category_id = int(rng.choice(absent[annotation["image_id"]]))
            record = {"image_id": annotation["image_id"], "category_id": category_id, "bbox": box}
            records.append({**record, "score": float(np.round(rng.random(), 2))})
            if masks and rng.random() < 0.5:
                records[-1]["segmentation"] = annotation["segmentation"]
    return records
