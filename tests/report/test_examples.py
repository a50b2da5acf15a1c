import numpy as np
import pytest

from dense_lt.data.categories import CategoryTable
from dense_lt.data.table import AnnotationTable, Ragged
from dense_lt.evaluation.predictions import Predictions
from dense_lt.report import examples
from dense_lt.report.examples import NOTHING, Shown

CATEGORIES = CategoryTable(
    names=("cat", "newt"),
    dataset_ids=(7, 9),
    image_counts=(500, 2),
    instance_counts=(600, 2),
    groups=("frequent", "rare"),
)
CAT, NEWT = 0, 1


def make_table(labels_per_image, negatives=None):
    """Image i has id 100 + i; its object j is the square at x = 20 j, 10 pixels wide."""
    counts = [len(labels) for labels in labels_per_image]
    boxes = [[20.0 * j, 0, 20.0 * j + 10, 10] for n in counts for j in range(n)]
    num, total = len(counts), sum(counts)
    return AnnotationTable(
        source="made here",
        image_ids=np.arange(100, 100 + num),
        heights=np.full(num, 40, np.int32),
        widths=np.full(num, 60, np.int32),
        file_names=[f"{i}.png" for i in range(num)],
        url_names=[""] * num,
        offsets=np.cumsum([0, *counts]),
        annotation_ids=np.arange(total),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array([label for own in labels_per_image for label in own], np.int32),
        areas=np.full(total, 100.0),
        crowd=np.zeros(total, bool),
        negatives=None if negatives is None else Ragged.from_lists(negatives),
        not_exhaustive=Ragged.from_lists([[]] * num),
    )


def square(place, label, score=0.9):
    return Shown(
        np.array([[20.0 * place, 0, 20.0 * place + 10, 10]]), np.array([label]), np.array([score])
    )


def test_iou_is_the_one_done_by_hand():
    # 10 x 10 and the same moved by 5: common 50, union 150.
    iou = examples.box_iou(
        np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 15, 10], [20, 0, 30, 10]])
    )
    assert iou.tolist() == [[pytest.approx(1 / 3), 0]]
    assert examples.box_iou(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0]]


def test_shown_are_the_best_above_the_threshold():
    predictions = Predictions(
        source="made here",
        image_ids=np.array([5, 3, 5, 5, 5]),
        category_ids=np.array([7, 7, 9, 7, 8]),  # 8 is no category
        scores=np.array([0.3, 0.9, 0.8, 0.1, 0.9]),
        boxes=np.array([[1.0, 2, 3, 4]] * 5),
    )
    shown = examples.shown_detections(predictions, CATEGORIES, threshold=0.2, most=2)
    assert set(shown) == {3, 5}
    assert shown[5].labels.tolist() == [NEWT, CAT]
    assert shown[5].scores.tolist() == [0.8, 0.3]
    assert shown[5].boxes.tolist() == [[1, 2, 4, 6]] * 2  # corners, from x, y, width, height
    assert examples.shown_detections(predictions, CATEGORIES, threshold=0.95, most=2) == {}


def test_an_object_is_found_by_a_detection_of_its_own_class_only():
    boxes, labels = np.array([[0.0, 0, 10, 10]]), np.array([NEWT])
    assert examples.found_objects(boxes, labels, square(0, NEWT)).tolist() == [True]
    assert examples.found_objects(boxes, labels, square(0, CAT)).tolist() == [False]
    assert examples.found_objects(boxes, labels, square(1, NEWT)).tolist() == [False]
    assert examples.found_objects(boxes, labels, NOTHING).tolist() == [False]


def test_a_class_nobody_looked_for_is_not_judged():
    table = make_table([[CAT], [CAT]], negatives=[[NEWT], []])
    assert examples.judge(table, 0, 2, square(0, CAT)) == ["right"]
    assert examples.judge(table, 0, 2, square(0, NEWT)) == ["wrong"]
    assert examples.judge(table, 1, 2, square(0, NEWT)) == ["not judged"]
    assert examples.judge(table, 1, 2, square(2, CAT)) == ["wrong"]


def test_images_are_chosen_by_gain_by_loss_and_at_random():
    table = make_table([[CAT], [NEWT, NEWT], [NEWT], [CAT], []])
    both = Shown(
        np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]]), np.array([NEWT, NEWT]), np.array([0.9, 0.8])
    )
    reference = {100: square(0, CAT)}
    other = {101: both, 102: square(0, NEWT)}
    choices = examples.choose(
        table, CATEGORIES, [reference, other], ["focal", "efl"], count=3, seed=0
    )
    rare, frequent, rare_loss, frequent_loss, drawn = choices
    assert rare.images == (1, 2)
    assert "efl finds more objects of rare classes than focal" in rare.rule
    assert frequent.images == rare_loss.images == ()
    assert frequent_loss.images == (0,)
    assert "efl finds fewer objects of frequent classes than focal" in frequent_loss.rule
    assert drawn.images == (3,)  # what is left and has an object


def test_a_rule_that_no_image_fits_says_so():
    table = make_table([[CAT]])
    *rules, drawn = examples.choose(table, CATEGORIES, [{}, {}], ["focal", "efl"], count=2, seed=0)
    assert len(rules) == 4
    assert all("there is no image where" in own.rule for own in rules)
    assert drawn.images == (0,)


def test_one_run_gets_random_images_and_the_same_ones_for_the_same_seed():
    table = make_table([[CAT]] * 20)
    choices = [
        examples.choose(table, CATEGORIES, [{}], ["focal"], count=4, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert [len(own) for own in choices] == [1, 1, 1]
    assert choices[0] == choices[1]
    assert choices[0] != choices[2]
