"""The challenge's rules one by one, each on numbers a reader can redo.

Classes: pet above cat and dog; toy above dog too; car apart. Boxes are (x1, x2, y1, y2), as in the
files.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.openimages_oracle import expected_precision
from hypothesis import given, settings
from hypothesis import strategies as st

from dense_lt.data.openimages.groups import rank_groups
from dense_lt.evaluation.openimages import average_precision, count_truth, rank_entries
from dense_lt.evaluation.openimages_predictions import (
    read_openimages_predictions,
    write_openimages_predictions,
)
from dense_lt.evaluation.openimages_score import (
    OpenImagesFiles,
    group_metrics,
    read_train_counts,
    score_openimages,
)
from dense_lt.evaluation.openimages_truth import OpenImagesTruth, read_truth
from dense_lt.utils.errors import DataError

CLASSES = ["pet", "cat", "dog", "toy", "car"]
HIERARCHY = {
    "LabelName": "everything",
    "Subcategory": [
        {"LabelName": "pet", "Subcategory": [{"LabelName": "cat"}, {"LabelName": "dog"}]},
        {"LabelName": "toy", "Subcategory": [{"LabelName": "dog"}]},
        {"LabelName": "car"},
    ],
}
LEFT, RIGHT = (0.0, 0.4, 0.0, 0.4), (0.5, 0.9, 0.5, 0.9)
Row = tuple[Any, ...]


def _write(path: Path, header: str, rows: Sequence[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header.split(), *rows])
    return path


class Case:
    """Files in a folder: boxes (image, class, box, is group), labels (image, class, confidence)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def truth(
        self,
        boxes: list[Row],
        labels: Sequence[Row] = (),
        hierarchy: Any = HIERARCHY,
    ) -> OpenImagesTruth:
        rows = [(image, name, *box, int(group)) for image, name, box, group in boxes]
        box_path = _write(
            self.folder / "boxes.csv", "ImageID LabelName XMin XMax YMin YMax IsGroupOf", rows
        )
        label_path = _write(self.folder / "labels.csv", "ImageID LabelName Confidence", labels)
        classes = self.folder / "classes.csv"
        classes.write_text("".join(f"{own},A {own}\n" for own in CLASSES), encoding="utf-8")
        tree = self.folder / "hierarchy.json"
        tree.write_text(json.dumps(hierarchy), encoding="utf-8")
        return read_truth(box_path, classes, labels=label_path, hierarchy=tree)

    def predictions(self, rows: list[Row]) -> Path:
        """(image, class, score, box)."""
        flat = [(image, name, value, *box) for image, name, value, box in rows]
        return _write(
            self.folder / "found.csv", "ImageID LabelName Score XMin XMax YMin YMax", flat
        )

    def precision(
        self,
        boxes: list[Row],
        found: list[Row],
        labels: Sequence[Row] = (),
        **options: Any,
    ) -> dict[str, float]:
        """Average precision of the classes that are defined."""
        truth = self.truth(boxes, labels)
        predictions = read_openimages_predictions(self.predictions(found), truth, **options)
        values = average_precision(rank_entries(truth, predictions), count_truth(truth))
        named = zip(CLASSES, values.tolist(), strict=True)
        return {name: value for name, value in named if not np.isnan(value)}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_box_holds_for_all_ancestors_each_once(case: Case) -> None:
    """A dog is a pet and a toy; the root is no class."""
    truth = case.truth([("a", "dog", LEFT, False)])
    assert sorted(CLASSES[index] for index in truth.category) == ["dog", "pet", "toy"]


def test_a_positive_label_goes_up_and_a_negative_one_goes_down(case: Case) -> None:
    """A cat that was seen is a pet, 2 classes; without toys there is no dog, 2 more: 4 of 5."""
    truth = case.truth([], [("a", "cat", 1), ("a", "toy", 0)])
    verified = {CLASSES[index] for index in np.flatnonzero(truth.verified[0])}
    assert verified == {"cat", "pet", "toy", "dog"}


def test_detections_are_not_expanded(case: Case) -> None:
    """The cat is found as a cat; nobody found the pet: AP 1 and 0."""
    found = case.precision([("a", "cat", LEFT, False)], [("a", "cat", 0.9, LEFT)])
    assert found == {"pet": 0, "cat": 1}


def test_the_other_protocol_expands_detections_too(case: Case) -> None:
    boxes, found = [("a", "cat", LEFT, False)], [("a", "cat", 0.9, LEFT)]
    assert case.precision(boxes, found, expand=True) == {"pet": 1, "cat": 1}


def test_classes_that_nobody_verified_are_not_evaluated(case: Case) -> None:
    """The car in image b is only wrong once somebody said that there is none: 1, then 1 / 2."""
    boxes = [("a", "car", LEFT, False), ("b", "cat", LEFT, False)]
    found = [("b", "car", 0.9, LEFT), ("a", "car", 0.5, LEFT)]
    assert case.precision(boxes, found)["car"] == 1
    assert case.precision(boxes, found, [("b", "car", 0)])["car"] == pytest.approx(1 / 2)


def test_images_without_annotations_are_not_evaluated(case: Case) -> None:
    """The better detection would be a false positive, 1 / 2; without it, 1 of 1 is found."""
    found = [("z", "car", 0.9, LEFT), ("a", "car", 0.5, LEFT)]
    assert case.precision([("a", "car", LEFT, False)], found) == {"car": 1}


def test_iou_of_one_half_is_enough(case: Case) -> None:
    """Half of a unit square: intersection 1/2, union 1, IoU exactly 1/2; less is too little."""
    boxes = [("a", "car", (0.0, 1.0, 0.0, 1.0), False)]
    assert case.precision(boxes, [("a", "car", 0.9, (0.0, 0.5, 0.0, 1.0))]) == {"car": 1}
    assert case.precision(boxes, [("a", "car", 0.9, (0.0, 0.499, 0.0, 1.0))]) == {"car": 0}


def test_a_second_detection_of_a_box_is_a_false_positive(case: Case) -> None:
    """TP, FP, TP of two boxes: the envelope is 1 for the first, 2/3 for the second."""
    boxes = [("a", "car", LEFT, False), ("a", "car", RIGHT, False)]
    found = [("a", "car", 0.9, LEFT), ("a", "car", 0.8, LEFT), ("a", "car", 0.7, RIGHT)]
    assert case.precision(boxes, found)["car"] == pytest.approx((1 + 2 / 3) / 2)


def test_a_detection_looks_only_at_the_box_it_overlaps_most(case: Case) -> None:
    """The second detection overlaps box one most (IoU 1), which is taken; box two stays unfound.

    Box two is box one cut to 4/5: IoU 4/5 with both detections would be enough for COCO's rule.
    """
    boxes = [("a", "car", (0.0, 1.0, 0.0, 1.0), False), ("a", "car", (0.0, 0.8, 0.0, 1.0), False)]
    whole = (0.0, 1.0, 0.0, 1.0)
    found = case.precision(boxes, [("a", "car", 0.9, whole), ("a", "car", 0.8, whole)])
    assert found["car"] == pytest.approx(1 / 2)


def test_the_best_precision_further_on_counts(case: Case) -> None:
    """FP, TP, TP of two boxes: precision 1/2 and 2/3; the envelope is 2/3 for both."""
    boxes = [("a", "car", LEFT, False), ("a", "car", RIGHT, False)]
    wrong = (0.4, 0.5, 0.0, 0.1)
    found = [("a", "car", 0.9, wrong), ("a", "car", 0.8, LEFT), ("a", "car", 0.7, RIGHT)]
    assert case.precision(boxes, found)["car"] == pytest.approx(2 / 3)


def test_no_number_of_detections_is_too_many(case: Case) -> None:
    """The box is found by the last of 1,001 detections of its image: precision 1 / 1001."""
    wrong = [("a", "car", 0.9, (0.5, 0.6, 0.5, 0.6))] * 1000
    found = case.precision([("a", "car", LEFT, False)], [*wrong, ("a", "car", 0.1, LEFT)])
    assert found["car"] == pytest.approx(1 / 1001)


def test_of_equal_overlaps_the_first_box_is_looked_at(case: Case) -> None:
    """Two equal boxes: both detections look at the first; the second is a false positive."""
    boxes = [("a", "car", LEFT, False)] * 2
    found = case.precision(boxes, [("a", "car", 0.9, LEFT), ("a", "car", 0.8, LEFT)])
    assert found["car"] == pytest.approx(1 / 2)


GROUP = (0.0, 0.8, 0.0, 1.0)


def test_many_detections_in_a_group_are_one_true_positive(case: Case) -> None:
    """Three inside the group count as one; without the group rule they would be false positives.

    Then a false positive at 0.4 outside: behind the only true positive, so precision stays 1.
    """
    inside = [("a", "car", value, (0.1, 0.3, 0.1, 0.3)) for value in (0.9, 0.8, 0.7)]
    outside = [("a", "car", 0.4, (0.85, 0.95, 0.1, 0.3))]
    assert case.precision([("a", "car", GROUP, True)], inside + outside) == {"car": 1}


def test_a_group_is_found_with_its_best_score(case: Case) -> None:
    """0.9 and 0.7 inside, a false positive at 0.8: the group's place is the first, so AP is 1.

    At the place of its last detection it would be 1 / 2.
    """
    inside = [("a", "car", value, (0.1, 0.3, 0.1, 0.3)) for value in (0.9, 0.7)]
    outside = [("a", "car", 0.8, (0.85, 0.95, 0.1, 0.3))]
    assert case.precision([("a", "car", GROUP, True)], inside + outside) == {"car": 1}


def test_of_two_groups_the_one_that_holds_more_is_found(case: Case) -> None:
    """5/8 of the detections are in the first, all in the second: the first stays unfound, 1/2."""
    boxes = [("a", "car", (0.0, 0.5, 0.0, 1.0), True), ("a", "car", (0.0, 0.8, 0.0, 1.0), True)]
    inside = (0.0, 0.8, 0.0, 0.5)
    found = [("a", "car", 0.9, inside), ("a", "car", 0.8, inside)]
    assert case.precision(boxes, found)["car"] == pytest.approx(1 / 2)


def test_a_group_is_one_for_the_ancestors_too(case: Case) -> None:
    """Many cats: two detections of pets inside are one true positive, and the cats stay unfound."""
    found = [("a", "pet", value, (0.1, 0.3, 0.1, 0.3)) for value in (0.9, 0.8)]
    assert case.precision([("a", "cat", GROUP, True)], found) == {"pet": 1, "cat": 0}


def test_half_of_a_detection_inside_a_group_is_enough(case: Case) -> None:
    """Inside part of (0.7, 0.9): 0.1 of 0.2, exactly a half. Of (0.72, 0.92): less."""
    boxes = [("a", "car", (0.0, 0.75, 0.0, 1.0), True)]
    assert case.precision(boxes, [("a", "car", 0.9, (0.5, 1.0, 0.0, 1.0))]) == {"car": 1}
    assert case.precision(boxes, [("a", "car", 0.9, (0.51, 1.0, 0.0, 1.0))]) == {"car": 0}


def test_a_group_that_nothing_found_is_a_false_negative(case: Case) -> None:
    """One of one box and one group found: 1/2."""
    boxes = [("a", "car", RIGHT, False), ("a", "car", (0.0, 0.2, 0.0, 0.2), True)]
    assert case.precision(boxes, [("a", "car", 0.9, RIGHT)])["car"] == pytest.approx(1 / 2)


def test_single_boxes_are_matched_before_groups(case: Case) -> None:
    """The detection finds the single box inside the group; the group stays unfound: 1/2.

    A second detection of the same box would be a false positive, but it lies in the group: it is
    the group's true positive, and both are found.
    """
    boxes = [("a", "car", LEFT, False), ("a", "car", GROUP, True)]
    one = [("a", "car", 0.9, LEFT)]
    assert case.precision(boxes, one)["car"] == pytest.approx(1 / 2)
    assert case.precision(boxes, [*one, ("a", "car", 0.8, LEFT)])["car"] == 1


def test_a_detection_of_score_zero_in_a_group_is_lost(case: Case) -> None:
    """The group is a false negative, 0 of 1 found, and the detection no false positive either."""
    found = case.precision([("a", "car", GROUP, True)], [("a", "car", 0.0, LEFT)])
    assert found == {"car": 0}


def test_unknown_group_flags_are_no_groups(case: Case) -> None:
    """-1 says that nobody looked: one group of the two boxes."""
    truth = case.truth([("a", "car", LEFT, -1), ("a", "car", LEFT, 1)])
    assert truth.group_of.tolist() == [False, True]


def test_boxes_without_area_are_dropped(case: Case) -> None:
    """As a false positive above, the line would halve the precision: 1 / 2 instead of 1."""
    found = [("a", "car", 0.9, (0.4, 0.4, 0.0, 0.4)), ("a", "car", 0.5, LEFT)]
    assert case.precision([("a", "car", LEFT, False)], found) == {"car": 1}


def test_equal_scores_are_ranked_by_image_and_then_by_row(case: Case) -> None:
    """FP in image b and TP in image a at the same score: a comes first, whatever the file says.

    Within image a, the false positive that stands first in the file stays first: 1/2.
    """
    boxes = [("b", "car", RIGHT, False), ("a", "car", LEFT, False)]
    wrong = (0.4, 0.5, 0.0, 0.1)
    found = [("b", "car", 0.5, wrong), ("a", "car", 0.5, LEFT)]
    assert case.precision(boxes, found)["car"] == pytest.approx(1 / 2)  # TP first, one box unfound
    found = [("a", "car", 0.5, wrong), ("a", "car", 0.5, LEFT)]
    assert case.precision(boxes[1:], found)["car"] == pytest.approx(1 / 2)


def test_pieces_of_the_file_do_not_matter(case: Case) -> None:
    boxes = [(image, "dog", LEFT, False) for image in "abcd"]
    found = [(image, "dog", 0.1 * i, LEFT) for i, image in enumerate("abcd" * 3, 1) if i < 10]
    assert case.precision(boxes, found, rows=2) == case.precision(boxes, found)


def test_groups_are_fifths_by_rising_training_count() -> None:
    """Counts 10 and 20 are AP1: (1 + 0.5) / 2; AP2 (30, 40) is undefined; AP3 (50, 60): 0.6 / 2.

    Undefined classes are in no mean: mAP is 2.6 over 8 of the 10 classes.
    """
    counts = np.array([50, 10, 40, 20, 30, 60, 70, 80, 90, 100])
    assert rank_groups(counts).tolist() == [2, 0, 1, 0, 1, 2, 3, 3, 4, 4]
    precision = np.array([0.2, 1.0, np.nan, 0.5, np.nan, 0.4, 0, 0, 0, 0.5])
    metrics = group_metrics(precision, rank_groups(counts))
    assert metrics["AP1"] == pytest.approx(0.75)
    assert metrics["AP2"] is None
    assert metrics["AP3"] == pytest.approx(0.3)
    assert metrics["mAP"] == pytest.approx((0.2 + 1 + 0.5 + 0.4 + 0.5) / 8)


def test_training_counts_come_from_json_or_csv(tmp_path: Path) -> None:
    stored = tmp_path / "counts.json"
    stored.write_text(json.dumps({own: index for index, own in enumerate(CLASSES)}))
    rows = [(own, "x", index) for index, own in enumerate(CLASSES)]
    table = _write(tmp_path / "counts.csv", "LabelName DisplayName InstanceCount", rows)
    for path in (stored, table):
        assert read_train_counts(path, tuple(CLASSES)).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match="1 of 6 classes have no training count, such as bus"):
        read_train_counts(stored, (*CLASSES, "bus"))


def test_results_say_what_was_measured(case: Case, tmp_path: Path) -> None:
    case.truth([("a", "cat", LEFT, False), ("a", "car", GROUP, True)])
    counts = tmp_path / "counts.json"
    counts.write_text(json.dumps({own: index for index, own in enumerate(CLASSES)}))
    files = OpenImagesFiles(
        predictions=case.predictions([("a", "cat", 0.9, LEFT), ("z", "bus", 0.9, LEFT)]),
        boxes=tmp_path / "boxes.csv",
        classes=tmp_path / "classes.csv",
        hierarchy=tmp_path / "hierarchy.json",
        train_counts=counts,
    )
    result = score_openimages(files, run="mine")
    assert result.metrics == {
        "mAP": pytest.approx(1 / 3),
        "AP1": 0,  # pet: found only as a cat
        "AP2": 1,  # cat
        "AP3": None,
        "AP4": None,
        "AP5": 0,  # car
    }
    assert result.undefined["AP3"] == "no class of this fifth has ground truth"
    assert result.counts["images"] == 1
    assert result.counts["detections"] == 2
    assert result.rules["ties"] == "score, then ImageID, then row"
    cat = result.per_class[1]
    assert (cat.category_id, cat.name, cat.group, cat.AP) == ("cat", "A cat", "AP2", 1)
    assert any("images without any annotation" in note for note in result.notes)


def _sides(shortest: int) -> st.SearchStrategy[tuple[float, float]]:
    """From and to, in eighths of the image."""
    return st.builds(
        lambda low, length: (low / 8, min(low + length, 8) / 8),
        st.integers(0, 7),
        st.integers(shortest, 8),
    )


def _boxes(shortest: int) -> st.SearchStrategy[tuple[float, float, float, float]]:
    return st.builds(lambda x, y: (*x, *y), _sides(shortest), _sides(shortest))


IMAGE, NAME = st.sampled_from("abc"), st.sampled_from(CLASSES)
SCORE = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
FOUND = st.tuples(st.sampled_from("abcz"), NAME, SCORE, _boxes(0))
ANCESTORS = {"pet": set(), "cat": {"pet"}, "dog": {"pet", "toy"}, "toy": set(), "car": set()}


def _check_against_loops(folder: Path, data: st.DataObject) -> None:
    """Few places and scores, so that ties, duplicates and overlaps of exactly 1/2 are common."""
    objects = st.tuples(IMAGE, NAME, _boxes(1), st.booleans())
    boxes = data.draw(st.lists(objects, min_size=1, max_size=6))
    labels = data.draw(st.lists(st.tuples(IMAGE, NAME, st.integers(0, 1)), max_size=5))
    rows = data.draw(st.lists(FOUND, min_size=1, max_size=14))
    rows[0] = (boxes[0][0], *rows[0][1:])  # one image that is known
    rows += [(*row[:2], 0.5, row[2]) for row in boxes if data.draw(st.booleans())]
    case = Case(folder)
    for expand in (False, True):
        expected = expected_precision(CLASSES, ANCESTORS, boxes, labels, rows, expand=expand)
        assert case.precision(boxes, rows, labels, expand=expand) == pytest.approx(
            expected, abs=1e-12
        )


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_small_case_equals_plain_loops(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    _check_against_loops(tmp_path_factory.mktemp("case"), data)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=3000, deadline=None)
def test_thousands_of_cases_equal_plain_loops(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    _check_against_loops(tmp_path_factory.mktemp("case"), data)


def test_no_detections_give_numbers_and_a_note(case: Case) -> None:
    assert case.precision([("a", "car", LEFT, False)], []) == {"car": 0}
    found = read_openimages_predictions(case.predictions([]), case.truth([("a", "car", LEFT, 0)]))
    (note,) = found.notes
    assert "found.csv: there are no detections: precision is 0" in note


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_what_is_left_out_is_noted_with_its_first_row(case: Case, rows: int) -> None:
    truth = case.truth([("a", "car", LEFT, False)])
    line = (0.5, 0.25, 0.0, 0.5)  # XMax below XMin
    table = [("a", "car", 0.9, LEFT), ("z", "car", 0.5, LEFT), ("a", "yak", 0.5, LEFT)]
    table += [("a", "car", 0.5, line), ("y", "car", 0.5, LEFT), ("a", "car", 0.5, line)]
    found = read_openimages_predictions(case.predictions(table), truth, rows=rows)
    unknown, other, empty = sorted(found.notes, key=lambda note: note.split("first row ")[1])
    assert (
        "2 detections are on images without any annotation: left out, first row 2: 'z'" in unknown
    )
    assert "1 detections are of classes that --classes does not list" in other
    assert "first row 3: 'yak'" in other
    assert "2 detections have no area: left out, first row 4: [0.5, 0.0, 0.25, 0.5]" in empty
    assert all("found.csv" in note for note in found.notes)


def test_predictions_are_written_and_read(case: Case, tmp_path: Path) -> None:
    truth = case.truth([("a", "car", LEFT, False)])
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.random((9, 2, 2)), axis=1).reshape(9, 4)  # x1 y1 x2 y2
    path = tmp_path / "written.csv"
    write_openimages_predictions(
        path, image_ids=["a"] * 9, classes=["car"] * 9, scores=rng.random(9), boxes=boxes
    )
    again = read_openimages_predictions(path, truth)
    np.testing.assert_array_equal(again.boxes, boxes)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a", "car", 1.5, LEFT), r"row 2 has Score 1\.5"),
        (("a", "car", "nan", LEFT), "row 2 has Score nan"),
        (("a", "car", 0.5, (0, "inf", 0, 1)), r"row 2 has the box \[0\.0, 0\.0, inf, 1\.0\]"),
        (("a", "car", "x", LEFT), "line 3: Score is 'x'; a number is needed"),
        (("a" * 50, "car", 0.5, LEFT), "line 3: ImageID is longer than 39 bytes"),
    ],
)
def test_a_broken_row_is_named(case: Case, row: Row, message: str) -> None:
    truth = case.truth([("a", "car", LEFT, False)])
    path = case.predictions([("a", "car", 0.5, LEFT), row])
    with pytest.raises(DataError, match=rf"found\.csv.*{message}"):
        read_openimages_predictions(path, truth)


def test_pixels_instead_of_fractions_are_noted_with_a_row(case: Case) -> None:
    truth = case.truth([("a", "car", LEFT, False)])
    rows = [("a", "car", 0.9, LEFT), ("a", "car", 0.5, (10.0, 20.0, 5.0, 9.0))]
    found = read_openimages_predictions(case.predictions(rows), truth)
    (note,) = found.notes
    assert "found.csv: row 2 has a coordinate above 1.5: [10.0, 5.0, 20.0, 9.0]" in note


def test_predictions_for_other_images_are_recognised(case: Case) -> None:
    truth = case.truth([("a", "car", LEFT, False)])
    with pytest.raises(DataError, match="another data set"):
        read_openimages_predictions(case.predictions([("z", "car", 0.5, LEFT)]), truth)


def test_a_missing_column_is_named(case: Case, tmp_path: Path) -> None:
    truth = case.truth([("a", "car", LEFT, False)])
    path = _write(tmp_path / "found.csv", "ImageID LabelName Scores XMin XMax YMin YMax", [])
    with pytest.raises(DataError, match=r"no column 'Score'.*did you mean 'Scores'"):
        read_openimages_predictions(path, truth)
    path.write_text("x" * 10_000, encoding="utf-8")
    with pytest.raises(DataError, match=r"the header is x{100}\.\.\.$"):
        read_openimages_predictions(path, truth)
