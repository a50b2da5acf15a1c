import contextlib
import io
import json
import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from helpers.annotation_files import coco_content, lvis_content, write_json
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from dense_lt.data import json_lists
from dense_lt.data.lvis import read_annotations
from dense_lt.data.segmentations import coco_mask, to_mask
from dense_lt.utils.errors import DataError


def _read(tmp_path, content, **options):
    return read_annotations(write_json(tmp_path / "file.json", content), **options)


def test_labels_follow_the_rising_order_of_any_ids(tmp_path):
    _, categories = _read(tmp_path, coco_content())
    assert categories.dataset_ids == (-3, 7, 40)
    assert categories.names == ("class -3", "class 7", "class 40")
    assert categories.image_counts == (0, 2, 1)
    assert categories.instance_counts == (0, 2, 2)


def test_groups_come_from_frequency_where_the_file_has_it(tmp_path):
    _, categories = _read(tmp_path, lvis_content())
    assert categories.groups == ("rare", "common", "frequent")


def test_groups_come_from_image_counts_where_it_has_not(tmp_path):
    _, categories = _read(tmp_path, coco_content(), thresholds=(0, 1))
    assert categories.groups == ("rare", "frequent", "common")


def test_a_crowd_does_not_count_as_an_object(tmp_path):
    content = coco_content()
    content["annotations"][1]["iscrowd"] = 1
    table, categories = _read(tmp_path, content)
    assert categories.image_counts == (0, 1, 1)
    assert table.crowd.tolist() == [False, False, False, True]


def test_all_fields_beyond_boxes_may_be_missing(tmp_path, caplog):
    content = coco_content()
    for annotation in content["annotations"]:
        for field in ("area", "iscrowd", "segmentation"):
            del annotation[field]
    with caplog.at_level(logging.INFO):
        table, _ = _read(tmp_path, content)
    assert table.areas.tolist() == [120, 76.5, 100, 1000]
    assert not table.crowd.any()
    assert table.segmentation(0) is None
    assert table.negatives is None
    (said,) = caplog.messages
    for field in ("neg_category_ids", "frequency", "area", "iscrowd"):
        assert f"no `{field}`" in said


def test_an_area_of_null_is_taken_from_the_box(tmp_path):
    content = coco_content()
    content["annotations"][0]["area"] = None
    assert _read(tmp_path, content)[0].areas[0] == 120


def test_a_file_without_annotations_is_legal(tmp_path):
    table, categories = _read(tmp_path, {**coco_content(), "annotations": []})
    assert table.num_instances == 0
    assert table.boxes.shape == (0, 4)
    assert categories.image_counts == (0, 0, 0)
    assert table.image(0).boxes.shape == (0, 4)


def test_boxes_are_clipped_to_their_image(tmp_path):
    content = coco_content()
    content["annotations"][0]["bbox"] = [-1.5, 3, 43, 28]
    table, _ = _read(tmp_path, content)
    assert table.boxes[0].tolist() == [0, 3, 40, 30]


def test_faults_are_one_error(tmp_path):
    content = coco_content()
    content["annotations"][0]["bbox"] = [2, 3, 0, 12]
    content["annotations"][1]["category_id"] = 77
    with pytest.raises(DataError, match=r"file.json: 2 faults:") as caught:
        _read(tmp_path, content)
    assert "annotation 1 of image 11: `bbox` is [2, 3, 0, 12]" in str(caught.value)


def test_invalid_boxes_can_be_left_out_and_those_that_reach_out_clipped(tmp_path, caplog):
    content = coco_content()
    content["annotations"][0]["bbox"] = [2, 3, 0, 12]
    content["annotations"][2]["bbox"] = ["?", 0, 1, 1]
    content["annotations"][3]["bbox"] = [30, 20, 60, 60]
    with caplog.at_level(logging.WARNING):
        table, categories = _read(tmp_path, content, drop_invalid_boxes=True)
    assert table.annotation_ids.tolist() == [4, 0]
    assert table.boxes[0].tolist() == [30, 20, 40, 30]
    assert categories.instance_counts == (0, 1, 1)
    assert "3 invalid boxes" in caplog.text


def test_other_faults_are_not_forgiven_with_the_boxes(tmp_path):
    content = coco_content()
    content["annotations"][0]["category_id"] = 77
    with pytest.raises(DataError, match="no category has this id"):
        _read(tmp_path, content, drop_invalid_boxes=True)


def test_polygons_of_too_few_points_are_left_out_of_the_mask(tmp_path):
    content = coco_content()
    content["annotations"][0]["segmentation"].append([1, 1, 2, 2])
    table, _ = _read(tmp_path, content)
    assert len(table.segmentation(0)) == 1


def test_segmentations_are_not_kept_unless_asked_for(tmp_path):
    table, _ = _read(tmp_path, coco_content(), masks=False)
    assert table.segmentations is None
    assert table.segmentation(0) is None


def test_the_table_of_the_training_data_is_kept_for_validation(tmp_path):
    _, categories = _read(tmp_path, lvis_content())
    content = lvis_content()
    content["annotations"] = content["annotations"][:1]
    content["categories"].reverse()
    for category in content["categories"]:
        category["frequency"] = "r"
    table, same = _read(tmp_path, content, categories=categories)
    assert same is categories
    assert table.labels.tolist() == [2]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": 41}, r"1 missing \(40 class 40\); 1 unknown \(41 class 40\)"),
        ({"name": "cat"}, r"1 renamed \(40 class 40 -> cat\)"),
    ],
)
def test_other_categories_than_in_training_are_one_error(tmp_path, change, told):
    _, categories = _read(tmp_path, coco_content())
    content = {**coco_content(), "annotations": []}
    content["categories"][0].update(change)
    with pytest.raises(DataError, match=told) as caught:
        _read(tmp_path, content, categories=categories)
    assert "trained on 3 categories" in str(caught.value)


def test_fewer_categories_than_in_training_are_named(tmp_path):
    _, categories = _read(tmp_path, coco_content())
    categories = replace(categories, dataset_ids=(1, 2, 3))
    with pytest.raises(DataError, match="3 missing"):
        _read(tmp_path, coco_content(), categories=categories)


def test_split_folder_and_name_come_from_the_url_where_there_is_no_file_name(tmp_path):
    content = coco_content()
    for image in content["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/val2017/{image.pop('file_name')}"
    table, _ = _read(tmp_path, content)
    assert table.file_names[0] == table.url_names[0] == "val2017/a.png"


def test_a_missing_file_names_itself(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.json: there is no such annotation file"):
        read_annotations(tmp_path / "nowhere.json")


@pytest.mark.parametrize("text", ["", "{", "[1, 2", '{"images": [}', "\x00"])
def test_what_is_not_json_is_told(tmp_path, text):
    path = tmp_path / "cut.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"cut.json: is not JSON"):
        read_annotations(path)


def test_a_results_file_is_told_from_an_annotation_file(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("[]")
    with pytest.raises(DataError, match="not a results file"):
        read_annotations(path)


def test_reading_does_not_import_torch(tmp_path):
    import subprocess
    import sys

    path = write_json(tmp_path / "file.json", coco_content())
    code = (
        "import sys; from pathlib import Path; from dense_lt.data.lvis import read_annotations; "
        f"read_annotations(Path({str(path)!r})); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@st.composite
def _contents(draw) -> dict:
    """A sound file: few images and classes of any ids, objects anywhere, outlines of all forms."""
    ids = st.integers(-(2**40), 2**40)
    categories = draw(st.lists(ids, min_size=1, max_size=4, unique=True))
    images = draw(st.lists(ids, min_size=1, max_size=4, unique=True))
    some = st.lists(st.sampled_from(categories), max_size=3)
    content = {
        "annotations": [],
        "categories": [{"id": own, "name": f"class {own}"} for own in categories],
        "images": [
            {"id": own, "file_name": f"{own} é.jpg", "width": 40, "height": 30}
            | draw(st.fixed_dictionaries({}, optional={"neg_category_ids": some}))
            | draw(st.fixed_dictionaries({}, optional={"not_exhaustive_category_ids": some}))
            for own in images
        ],
    }
    outlines = st.one_of(st.just(None), st.just([]), st.lists(_polygons(), min_size=1), _runs())
    for number in draw(st.lists(ids, max_size=8, unique=True)):
        x, y = draw(st.floats(0, 30)), draw(st.floats(0, 20))
        extra = {
            "area": st.one_of(st.none(), st.floats(0, 1e4)),
            "iscrowd": st.sampled_from([0, 1, True]),
            "segmentation": outlines,
        }
        content["annotations"].append(
            {
                "id": number,
                "image_id": draw(st.sampled_from(images)),
                "category_id": draw(st.sampled_from(categories)),
                "bbox": [x, y, draw(st.floats(0.5, 9)), draw(st.integers(1, 9))],
                **draw(st.fixed_dictionaries({}, optional=extra)),
            }
        )
    return content


def _polygons():
    corner = st.tuples(st.floats(-2, 42).map(lambda x: round(x, 2)), st.integers(0, 30))
    return st.lists(corner, min_size=3, max_size=6).map(lambda corners: [*sum(corners, ())])


def _runs():
    def counts(cuts: list[int]) -> list[int]:
        return np.diff([0, *sorted(cuts), 1200]).tolist()

    plain = st.lists(st.integers(0, 1200), max_size=6).map(counts)
    either = st.one_of(plain, plain.map(lambda own: _compressed(own)))
    return either.map(lambda own: {"size": [30, 40], "counts": own})


def _compressed(counts: list[int]) -> str:
    runs = coco_mask.frPyObjects({"size": [30, 40], "counts": counts}, 30, 40)
    return runs["counts"].decode()


@settings(max_examples=100, deadline=None)
@given(_contents(), st.integers(1, 200), st.booleans())
def test_a_table_holds_what_the_file_says(content, piece, indent):
    """Against a plain reading of every record, and pycocotools for the masks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.json"
        path.write_text(json.dumps(content, indent=2 if indent else None), encoding="utf-8")
        with mock.patch.object(json_lists, "PIECE", piece):
            table, categories = read_annotations(path)
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(path))
    assert list(categories.dataset_ids) == sorted(one["id"] for one in content["categories"])
    label_of = categories.label_of()
    say_negatives = any("neg_category_ids" in image for image in content["images"])
    for index, image in enumerate(content["images"]):
        own = table.image(index)
        assert (own.image_id, own.file_name) == (image["id"], image["file_name"])
        records = [one for one in content["annotations"] if one["image_id"] == image["id"]]
        assert own.annotation_ids.tolist() == [one["id"] for one in records]
        assert own.labels.tolist() == [label_of[one["category_id"]] for one in records]
        assert own.crowd.tolist() == [bool(one.get("iscrowd")) for one in records]
        boxes = np.array([one["bbox"] for one in records]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes = boxes.clip(0, [40, 30, 40, 30])
        assert (own.boxes == boxes.astype(np.float32)).all()
        sides = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        given_areas = [one.get("area") for one in records]
        assert own.areas.tolist() == [
            side if area is None else area for side, area in zip(sides, given_areas, strict=True)
        ]
        for place, record in enumerate(records):
            segmentation = table.segmentation(int(table.offsets[index]) + place)
            assert (segmentation is not None) == bool(record.get("segmentation"))
            if segmentation is not None:
                expected = coco.annToMask(coco.anns[record["id"]])
                assert (to_mask(segmentation, 30, 40) == expected).all()
        absent = sorted(label_of[own] for own in image.get("neg_category_ids", []))
        assert (table.negatives is not None) == say_negatives
        if table.negatives is not None:
            assert table.negatives[index].tolist() == absent
        partly = image.get("not_exhaustive_category_ids", [])
        assert table.not_exhaustive[index].tolist() == sorted(label_of[own] for own in partly)
