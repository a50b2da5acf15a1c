from typing import Any

import pytest
from helpers.annotation_files import Content, coco_content, faults_of, lvis_content

from dense_lt.data.validate import is_box

BOX, POLYGON = ("annotations", 0, "bbox"), ("annotations", 0, "segmentation")


def _changed(path: tuple[str, int, str], value: Any) -> Content:
    content = lvis_content()
    part, index, field = path
    content[part][index][field] = value
    return content


def test_a_good_file_has_no_faults():
    assert faults_of(coco_content(), masks=True) == []
    assert faults_of(lvis_content(), masks=True) == []


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (
            ("images", 0, "id"),
            "11",
            "image number 1 of the list: `id` is '11': expected an integer",
        ),
        (("images", 1, "id"), 11, "image number 2 of the list: `id` is 11: is used twice"),
        (("images", 0, "width"), 0, "image 11: `width` is 0: expected a whole number of pixels"),
        (("images", 0, "height"), None, "image 11: `height` is None"),
        (("images", 0, "file_name"), "", "neither it nor `coco_url` is given"),
        (("images", 0, "neg_category_ids"), [2], "no category has these ids"),
        (("images", 0, "neg_category_ids"), 2, "expected a list of category ids"),
        (("images", 0, "not_exhaustive_category_ids"), ["7"], "no category has these ids"),
        (("categories", 0, "id"), 1.0, "category number 1 of the list: `id` is 1.0"),
        (("categories", 0, "name"), "", "category 40: `name` is '': expected a name"),
        (
            ("categories", 1, "frequency"),
            "x",
            "category -3: `frequency` is 'x': expected r, c or f",
        ),
        (("annotations", 0, "id"), True, "annotation number 1 of the list: `id` is True"),
        (("annotations", 0, "id"), 9, "annotation number 3 of the list: `id` is 9: is used twice"),
        (
            ("annotations", 0, "image_id"),
            12,
            "annotation 1 of image 12: `image_id` is 12: no image",
        ),
        (("annotations", 0, "category_id"), 2, "`category_id` is 2: no category has this id"),
        (("annotations", 0, "iscrowd"), "no", "`iscrowd` is 'no': expected 0 or 1"),
        (("annotations", 0, "area"), -1, "`area` is -1: expected square pixels"),
        (BOX, None, "`bbox` is None: expected [x, y, width, height], finite"),
        (BOX, [1, 2, 3], "expected [x, y, width, height], finite"),
        (BOX, [1, 2, float("nan"), 3], "expected [x, y, width, height], finite"),
        (BOX, [True, 2, 3, 4], "expected [x, y, width, height], finite"),
        (
            ("annotations", 0, "image_id"),
            "11",
            "annotation 1 of image 11: `image_id` is '11': is text, not a number; write it without",
        ),
        (BOX, ["1", 2, 3, 4], "expected [x, y, width, height], finite"),
        (
            BOX,
            [2, 3, 0.0, 5],
            "annotation 1 of image 11: `bbox` is [2, 3, 0.0, 5]: width and height",
        ),
        (BOX, [40, 3, 5, 5], "lies outside its image of 40 x 30 pixels"),
        (BOX, [30, 20, 38, 29], "reaches 28.0 pixels out of its image"),
        (POLYGON, [1, 1, 5, 1, 5, 5], "put a single polygon into a list"),
        (POLYGON, [[1, 1, 5, 1]], "a polygon needs three or more pairs"),
        (POLYGON, {"size": [40, 30], "counts": [1200]}, "expected [height, width] = [30, 40]"),
        (POLYGON, {"size": [30, 40], "counts": 3}, "expected run lengths"),
        (POLYGON, {"size": [30, 40], "counts": [5, 5]}, "the runs add up to 10 pixels, height x"),
        (POLYGON, {"size": [30, 40], "counts": "55"}, "height x width = 1200 are needed; correct"),
        (POLYGON, {"size": [30, 40], "counts": "\x01\x02zz"}, "cannot be decoded as run lengths"),
    ],
)
def test_every_fault_says_where_what_and_what_is_allowed(path, value, told):
    first, *others = faults_of(_changed(path, value), masks=True)
    assert told in str(first)
    assert all(path[2] == "id" and "no " in other.problem for other in others)  # refer to that id


@pytest.mark.parametrize("content", [[], "text", None, {}, {"images": {}, "annotations": []}])
def test_a_file_of_another_kind_is_told_at_once(content):
    assert faults_of(content, masks=True)


def test_all_faults_are_found_not_only_the_first():
    content = lvis_content()
    content["annotations"][0]["bbox"][2] = 0
    content["annotations"][1]["category_id"] = 99
    content["images"][2]["width"] = -1
    assert len(faults_of(content, masks=False)) == 3


def test_segmentations_are_not_looked_at_where_no_masks_are_learnt():
    assert faults_of(_changed(POLYGON, "nonsense"), masks=False) == []


def test_a_box_may_reach_out_of_its_image_by_the_tolerance():
    assert faults_of(_changed(BOX, [-2, -2, 43.9, 33.9]), masks=False) == []


def test_a_class_that_is_both_absent_and_annotated_is_told_but_not_fatal():
    (fault,) = faults_of(_changed(("images", 0, "neg_category_ids"), [7, -3]), masks=False)
    assert not fault.fatal
    assert "`neg_category_ids` is [7]" in str(fault)


def test_boxes_hold_finite_numbers_only():
    assert is_box([0, 1.5, 2, 3])
    assert not is_box([0, 1, 2, float("inf")])
    assert not is_box([float("inf"), -float("inf"), 0, 0])
