import json

import numpy as np
import pytest

from dense_lt.data.categories import CategoryTable
from dense_lt.evaluation.annotations import ground_truth_from, read_ground_truth
from dense_lt.utils.errors import DataError


def _document(**changes):
    document = {
        "images": [
            {"id": 9, "height": 40, "width": 50, "neg_category_ids": [7]},
            {"id": 4, "height": 40, "width": 50, "not_exhaustive_category_ids": [3]},
        ],
        "annotations": [
            {"id": 0, "image_id": 4, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 10.5},
            {"id": 1, "image_id": 9, "category_id": 3, "bbox": [0, 0, 5, 5], "area": 25},
        ],
        "categories": [
            {"id": 7, "name": "cup", "frequency": "f", "image_count": 200, "instance_count": 300},
            {"id": 3, "name": "owl", "frequency": "r", "image_count": 2, "instance_count": 2},
        ],
    }
    return {**document, **changes}


def _read(document, **options):
    return ground_truth_from(document, source="gt.json", **options)


def test_columns_are_sorted_by_id_and_point_at_each_other():
    truth = _read(_document())
    assert truth.image_ids.tolist() == [4, 9]
    assert truth.category_ids.tolist() == [3, 7]
    assert truth.names == ("owl", "cup")
    assert truth.groups == ("rare", "frequent")
    assert truth.train_images == (2, 200)
    assert truth.image.tolist() == [0, 1]
    assert truth.areas.tolist() == [10.5, 25]
    assert truth.boxes.tolist() == [[1, 2, 3, 4], [0, 0, 5, 5]]
    assert truth.negatives is not None
    assert [cells.tolist() for cells in truth.negatives] == [[1], [1]]
    assert [cells.tolist() for cells in truth.not_exhaustive] == [[0], [0]]


def test_the_digest_is_that_of_what_is_annotated():
    document = _document()
    digest = _read(document).digest
    shuffled = {**document, "annotations": document["annotations"][::-1]}
    assert _read(shuffled).digest == digest
    moved = [dict(own) for own in document["annotations"]]
    moved[0]["bbox"] = [x + 0.5 for x in moved[0]["bbox"]]
    assert _read({**document, "annotations": moved}).digest != digest
    images = [{**own, "neg_category_ids": []} for own in document["images"]]
    assert _read({**document, "images": images}).digest != digest


def test_what_a_plain_coco_file_lacks_is_assumed_and_said():
    document = _document()
    for image in document["images"]:
        image.pop("neg_category_ids", None)
    for record in (*document["annotations"], *document["categories"]):
        for key in ("area", "frequency", "image_count"):
            record.pop(key, None)
    truth = _read(document)
    assert truth.negatives is None
    assert truth.groups is None
    assert truth.train_images is None
    assert truth.areas.tolist() == [12, 25]
    notes = " ".join(truth.notes)
    assert "every category counts as looked for in every image" in notes
    assert "2 annotations have no `area`" in notes
    assert "--train-annotations" in notes


def test_training_counts_replace_the_groups_of_the_file():
    table = CategoryTable(("owl",), (3,), (50,), (60,), ("common",))
    truth = _read(_document()).with_training_counts(table)
    assert truth.groups == ("common", "rare")
    assert truth.train_images == (50, 0)
    assert "1 categories are not in the training set" in truth.notes[-1]


def test_training_counts_of_other_categories_are_refused():
    table = CategoryTable(("cat", "cup"), (3, 7), (50, 1), (60, 1), ("common", "rare"))
    with pytest.raises(DataError, match=r"gt\.json: category 3 is 'owl', but 'cat' in the"):
        _read(_document()).with_training_counts(table)


def test_training_counts_of_no_common_category_are_refused():
    table = CategoryTable(("cat", "cup"), (1, 2), (50, 1), (60, 1), ("common", "rare"))
    with pytest.raises(DataError, match=r"none of its 2 category ids is in the training set"):
        _read(_document()).with_training_counts(table)


@pytest.mark.parametrize("key", ["iscrowd", "ignore"])
@pytest.mark.parametrize("flag", ["0", "", 2, -1, [1]])
def test_a_flag_that_is_neither_0_nor_1_is_refused(key, flag):
    document = _document()
    document["annotations"][1][key] = flag
    with pytest.raises(DataError, match=rf"annotation 1 \(entry 1\) has `{key}` .* 0 or 1 is"):
        _read(document)


@pytest.mark.parametrize(("flag", "expected"), [(0, 0), (1, 1), (True, 1), (False, 0), (None, 0)])
def test_flags_are_read(flag, expected):
    document = _document()
    document["annotations"][1]["iscrowd"] = flag
    assert _read(document).crowd.tolist() == [False, bool(expected)]


def test_images_with_missing_or_unknown_negatives_are_counted():
    document = _document()
    assert [note for note in _read(document).notes if "neg_category_ids" in note] == [
        "1 of 2 images have no `neg_category_ids`: there, only categories with an annotation "
        "are scored"
    ]
    document["images"][1]["neg_category_ids"] = [7, 99]
    (note,) = _read(document).notes
    assert "1 images name a category in `neg_category_ids` that the ground truth does" in note


def test_an_area_of_null_is_a_missing_one():
    document = _document()
    document["annotations"][0]["area"] = None
    truth = _read(document)
    assert truth.areas.tolist() == [12, 25]
    assert any("1 annotations have no `area`" in note for note in truth.notes)


def test_a_subset_of_images_keeps_what_belongs_to_them():
    truth = _read(_document()).only_images(np.array([9]))
    assert truth.image_ids.tolist() == [9]
    assert truth.areas.tolist() == [25]
    assert truth.negatives is not None
    assert [cells.tolist() for cells in truth.negatives] == [[0], [1]]
    assert [cells.tolist() for cells in truth.not_exhaustive] == [[], []]


def test_annotations_of_unlisted_images_and_categories_are_left_out_with_a_note():
    document = _document()
    document["annotations"][0]["image_id"] = 77
    document["annotations"][1]["category_id"] = 77
    truth = _read(document)
    assert len(truth.areas) == 0
    assert "1 annotations name an image id" in truth.notes[0]
    assert "1 annotations name an category id" not in truth.notes[0]


def test_masks_are_encoded_and_stand_in_for_missing_boxes_and_areas():
    document = _document()
    for annotation in document["annotations"]:
        annotation["segmentation"] = [[2, 2, 2, 6, 7, 6, 7, 2]]
        del annotation["bbox"], annotation["area"]
    truth = _read(document, masks=True)
    assert truth.masks is not None
    assert truth.boxes.tolist() == [[2, 2, 5, 4]] * 2
    assert truth.areas.tolist() == [20, 20]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "images"),
        ({"annotations": [{"image_id": 4, "category_id": 3}]}, r"entry 0 has `bbox` None"),
        (
            {"annotations": [{"id": 5, "image_id": 4, "category_id": 3, "bbox": [0, 0, -1, 2]}]},
            r"annotation 5 \(entry 0\) has `bbox` \[0, 0, -1, 2\]",
        ),
        ({"annotations": [{"id": 5, "image_id": "4", "category_id": 3}]}, "`image_id` '4'"),
        ({"images": [{"id": 4}, {"id": 4}]}, "id 4 is given twice"),
        ({"categories": [{"id": 4}, {"id": 4}]}, "id 4 is given twice"),
        ({"categories": [{"name": "cup"}]}, "categories: an entry has no `id`"),
        ({"categories": [{"id": "a"}]}, "ids must be integers"),
        ({"categories": [{"id": 3, "frequency": "x"}]}, "r, c or f is needed"),
        ({"images": [{"id": 4, "neg_category_ids": ["x"]}]}, "lists of category ids"),
        ({"annotations": [None]}, "annotations: entry 0 is null; an object is needed"),
        ({"annotations": {"a": 1}}, "`annotations` is an object; a list of objects is needed"),
        ({"images": [{"id": 4}, 3]}, "images: entry 1 is 3; an object is needed"),
        (
            {
                "annotations": [
                    {"id": 5, "image_id": 4, "category_id": 3, "bbox": [0, 0, 1, 2], "area": "x"}
                ]
            },
            r"annotation 5 \(entry 0\) has `area` 'x'; a number of square pixels",
        ),
    ],
)
def test_a_broken_file_says_where_and_what(change, message):
    document = _document(**change)
    if document["images"] is None:
        del document["images"]
    with pytest.raises(DataError, match=rf"gt\.json: .*{message}"):
        _read(document)


def test_masks_that_are_missing_are_named():
    with pytest.raises(DataError, match=r"annotation 0 .* has no usable `segmentation`"):
        _read(_document(), masks=True)


def test_predictions_given_as_ground_truth_are_recognised(tmp_path):
    path = tmp_path / "gt.json"
    path.write_text(json.dumps([{"image_id": 1}]), encoding="utf-8")
    with pytest.raises(DataError, match="exchanged"):
        read_ground_truth(path)


def test_annotations_that_share_an_id_are_noted():
    first, *others = _document()["annotations"]
    again = {**first, "bbox": [1, 1, 5, 5]}
    truth = _read(_document(annotations=[first, again, *others]))
    assert len(truth.areas) == 2 + len(others)
    (note,) = [note for note in truth.notes if "given more than once" in note]
    assert f"1 annotation ids are given more than once, such as {first['id']}" in note
