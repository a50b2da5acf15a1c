from dataclasses import replace

import numpy as np
import pytest
from helpers.evaluation_cases import make_case
from helpers.evaluation_oracle import columns

from dense_lt.evaluation.doubts import (
    doubts_about_boxes,
    doubts_about_calibration,
    doubts_about_copies,
)
from dense_lt.evaluation.rules import COCO, FIXED, LVIS
from dense_lt.evaluation.score import score


@pytest.fixture
def case():
    """Images of 120 x 120 pixels; the boxes are inside."""
    truth, found = columns(*make_case(0, images=20))
    assert found.boxes is not None
    inside = np.minimum(found.boxes[:, 2:], 120 - found.boxes[:, :2])
    return truth, replace(found, boxes=np.concatenate([found.boxes[:, :2], inside], axis=1))


def test_usual_boxes_raise_no_doubts(case):
    assert doubts_about_boxes(case[1], case[0]) == []


def test_corners_in_place_of_sides_are_noted_with_an_entry(case):
    truth, found = case
    corners = replace(
        found, boxes=np.concatenate([found.boxes[:, :2], found.boxes[:, :2] + 60], axis=1)
    )
    (note,) = doubts_about_boxes(corners, truth)
    assert "found.json" in note
    assert "Are these corners [x1, y1, x2, y2]" in note
    entry = int(note.split("first entry ")[1].split(":")[0])
    assert str(corners.boxes[entry].tolist()) in note
    assert note in score(truth, corners).notes


def test_fractions_of_the_image_are_noted(case):
    truth, found = case
    fractions = found.boxes / 120
    (note,) = doubts_about_boxes(replace(found, boxes=fractions), truth)
    assert "found.json: 100% of the coordinates are at most 1.5, as in entry 0" in note
    fractions[0] = found.boxes[0] + 10
    (note,) = doubts_about_boxes(replace(found, boxes=fractions), truth)
    assert "as in entry 1: " in note


def test_few_boxes_unknown_sizes_and_masks_alone_raise_no_doubts(case):
    truth, found = case
    wrong = replace(found, boxes=found.boxes / 120)
    assert doubts_about_boxes(wrong.select(np.arange(9)), truth) == []
    unknown = replace(truth, image_sizes=np.zeros_like(truth.image_sizes))
    assert doubts_about_boxes(wrong, unknown) == []
    assert doubts_about_boxes(replace(found, boxes=None), truth) == []


def test_calibration_that_can_change_nothing_is_noted(case):
    _, found = case
    counts = np.unique(found.image_ids, return_counts=True)[1]
    most = int(counts.max())
    (note,) = doubts_about_calibration(found, LVIS, most)
    assert f"no image has more than {most} detections, so a cap of {most} cuts none" in note
    assert doubts_about_calibration(found.select(np.arange(0)), LVIS, most) == []
    for rules in (COCO, FIXED):
        (note,) = doubts_about_calibration(found, rules, 100)
        assert "ranks each class alone" in note


def test_calibration_of_detections_that_look_cut_is_noted(case):
    _, found = case
    ids = np.unique(found.image_ids)
    cut = np.concatenate([np.flatnonzero(found.image_ids == own)[:2] for own in ids])
    (note,) = doubts_about_calibration(found.select(cut), LVIS, 1)
    assert "images have exactly 2 detections. Were they cut there?" in note
    assert note in doubts_about_calibration(found.select(cut), FIXED, 10_000, pooled=True)
    uneven = np.concatenate(
        [np.flatnonzero(found.image_ids == own)[: 1 + k] for k, own in enumerate(ids)]
    )
    assert doubts_about_calibration(found.select(uneven), LVIS, 1) == []


def test_detections_that_are_there_twice_are_noted(case):
    truth, found = case
    found = replace(found, scores=np.linspace(0.1, 0.4, len(found)))
    assert doubts_about_copies(found) == []
    number = len(found)
    (note,) = doubts_about_copies(found.select(np.arange(2 * number) % number))
    assert f"found.json: {number} detections are exact copies of others" in note
    assert f"first entry {number} of entry 0" in note
    assert note in score(truth, found.select(np.arange(2 * number) % number)).notes
    moved = found.select(np.array([0, 0]))
    for column in ("image_ids", "category_ids", "scores"):
        other = getattr(moved, column) * np.array([1, 2], getattr(moved, column).dtype)
        assert doubts_about_copies(replace(moved, **{column: other})) == []
    assert doubts_about_copies(replace(moved, boxes=moved.boxes + np.array([[0], [1e-9]]))) == []
    assert doubts_about_copies(replace(moved, boxes=None)) == []


def test_labels_in_place_of_ids_are_noted(case):
    truth, found = case
    assert truth.category_ids[0] == 1
    labels = replace(found, category_ids=found.category_ids - 1)
    (note,) = [own for own in score(truth, labels).notes if "category ids" in own]
    assert "Are these labels from 0? The ids of the ground truth begin at 1" in note
