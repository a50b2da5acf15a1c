"""The greedy rule, case by case; the official packages are compared in test_lvis.py."""

import numpy as np

from dense_lt.evaluation.matching import match
from dense_lt.evaluation.overlap import Pairs
from dense_lt.evaluation.ranking import Objects, Ranking, places


def _objects(count, *, ignore=(), crowd=()):
    return Objects(
        index=np.arange(count),
        image=np.zeros(count, np.int32),
        category=np.zeros(count, np.int32),
        boxes=np.zeros((count, 4)),
        areas=np.full(count, 50.0),  # small
        mask_areas=np.full(count, 50.0),
        ignore=np.isin(np.arange(count), [*ignore, *crowd]),
        crowd=np.isin(np.arange(count), crowd),
        masks=None,
    )


def _ranking(count):
    zeros = np.zeros(count, np.int32)
    return Ranking(
        index=np.arange(count),
        image=zeros,
        category=zeros,
        scores=np.linspace(1, 0.5, count),
        place=zeros,
        boxes=np.zeros((count, 4)),
        areas=np.full(count, 50.0),
        mask_areas=np.full(count, 50.0),
        masks=None,
        cells=zeros.astype(np.uint8),
    )


def _match(pairs, num_detections, objects):
    """Matched and found at threshold 0.5 for all sizes: (K,) each."""
    detection, target, iou = (np.array(column) for column in zip(*pairs, strict=True))
    columns = Pairs(detection, target, iou.astype(float))
    matches = match(_ranking(num_detections), objects, columns, 1)
    return matches.matched[0, 0].tolist(), matches.found[0, 0].tolist()


def test_the_best_score_chooses_first_and_the_next_takes_what_is_left():
    """Detection 0 prefers object 1; detection 1 would too, and takes object 0."""
    pairs = [(0, 0, 0.6), (0, 1, 0.9), (1, 0, 0.55), (1, 1, 0.95)]
    assert _match(pairs, 2, _objects(2)) == ([True, True], [True, True])


def test_a_taken_object_cannot_be_matched_again():
    assert _match([(0, 0, 0.6), (1, 0, 0.9)], 2, _objects(1)) == ([True, False], [True, False])


def test_an_ignored_object_is_only_taken_when_no_other_is_left():
    pairs = [(0, 0, 0.6), (0, 1, 0.9), (1, 0, 0.6), (1, 1, 0.9)]
    matched, found = _match(pairs, 2, _objects(2, ignore=[1]))
    assert matched == [True, True]
    assert found == [True, False]


def test_a_crowd_can_be_matched_many_times():
    pairs = [(index, 0, 0.7) for index in range(3)]
    assert _match(pairs, 3, _objects(1, crowd=[0])) == ([True] * 3, [False] * 3)


def test_of_equal_overlaps_the_later_object_is_taken():
    """Then object 0 is left for detection 1, which overlaps nothing else."""
    pairs = [(0, 0, 0.7), (0, 1, 0.7), (1, 0, 0.6)]
    assert _match(pairs, 2, _objects(2)) == ([True, True], [True, True])


def test_an_overlap_that_equals_the_threshold_is_enough():
    detection, target, iou = np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([0.75])
    matches = match(_ranking(1), _objects(1), Pairs(detection, target, iou), 1)
    assert matches.matched[0, :, 0].tolist() == [True] * 6 + [False] * 4


def test_an_object_outside_a_size_range_is_ignored_there():
    detection, target, iou = np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([0.75])
    matches = match(_ranking(1), _objects(1), Pairs(detection, target, iou), 1)
    assert matches.found[:, 0, 0].tolist() == [True, True, False, False]


def test_places_follow_the_score_and_then_the_input_order():
    unit = np.array([1, 0, 1, 1, 0])
    scores = np.array([0.2, 0.9, 0.7, 0.7, 0.1])
    assert places(unit, scores, 1).tolist() == [2, 0, 0, 1, 1]
    assert places(unit, scores, 2).tolist() == [2, 0, 0, 1, 0]  # unit 0 fits under any cap
    assert places(unit[:0], scores[:0], 1).tolist() == []
