import copy
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
import pytest
from helpers.annotation_files import coco_content, faults_of, lvis_content, write_json
from hypothesis import given, settings
from hypothesis import strategies as st

from dense_lt.data import json_lists, screening
from dense_lt.data.screening import look_up, scan

NUMBERS = [0, 1, 2, 7, 11, 40, -1, 1.5, 10**20, 1e300, float("nan"), float("inf"), True]
TRIANGLE = [1, 1, 5, 1, 5, 5]
BOXES = [[1, 2, 3, 4], [0, 0, 0, 5], [0, 0, 39, 29.5], [35, 25, 8, 8], [-1.9, 0, 5, 5]]
POLYGONS = [
    TRIANGLE,
    [TRIANGLE],
    [[[*TRIANGLE]]],
    [TRIANGLE, 3],
    [3, TRIANGLE],
    [TRIANGLE, [1, 2]],
    [TRIANGLE, 5, TRIANGLE],
    [[1, 1, 5, 1]],
    [[1, 1, 5, 1, 5]],
    [[1, 1, 5, 1, 5, None]],
    [[0.5, 1e-9, 5, 1, 5, 5]],
    [[]],
]
FULL = "Xo0X6"
"""1000 pixels outside, then 200 inside."""

RUNS = [
    {"size": [30, 40], "counts": FULL},
    {"size": [40, 30], "counts": FULL},
    {"size": [30, 40], "counts": [1000, 200]},
    {"size": [30, 40], "counts": [1, 2]},
    {"size": [30, 40], "counts": "\x01\x02zz"},
    {"size": [30, 40], "counts": [-1]},
    {"size": [30, 40], "counts": "\u00e9"},
    {"size": [30, 40]},
]
ANYTHING = [None, "x", "", [], {}, [7], ["7"], *NUMBERS, *BOXES, *POLYGONS, *RUNS]
FIELDS = {
    ("images", "id"): [5, 8, "11"],
    ("images", "width"): [0, -40, 39],
    ("images", "height"): [0, 29.0, 31],
    ("images", "file_name"): ["", None],
    ("images", "coco_url"): ["", "http://host/train/a.png"],
    ("images", "neg_category_ids"): [[], [7, 40], [-3, 99]],
    ("images", "not_exhaustive_category_ids"): [[7], [99], [None]],
    ("categories", "id"): [7, 40, 5, "7"],
    ("categories", "name"): ["", None],
    ("categories", "frequency"): ["x", "r", ["r"]],
    ("annotations", "id"): [0, 9, None],
    ("annotations", "image_id"): [5, 99, "11"],
    ("annotations", "category_id"): [7, 99, True],
    ("annotations", "bbox"): BOXES,
    ("annotations", "area"): [-1, 0, None, "5"],
    ("annotations", "iscrowd"): [0, 1, True, 2, 1.0, "1"],
    ("annotations", "segmentation"): [*POLYGONS, *RUNS],
}
CHANGES = st.lists(
    st.sampled_from(sorted(FIELDS)).flatmap(
        lambda at: st.tuples(
            st.just(at[0]),
            st.integers(0, 3),
            st.just(at[1]),
            st.sampled_from(FIELDS[at]) | st.sampled_from(ANYTHING),
        )
    ),
    max_size=4,
)


def _changed(changes) -> dict:
    content = copy.deepcopy(lvis_content())
    for part, index, field, value in changes:
        if index == 3 and part != "annotations":
            content[part].append(value)
        elif isinstance(content[part][index], dict):
            content[part][index][field] = value
    return content


@settings(max_examples=300, deadline=None)
@given(CHANGES, st.booleans())
def test_columns_never_hide_a_fault_that_the_rules_would_find(changes, masks):
    """All rows held against the rules, and those alone that columns cannot vouch for."""
    content = _changed(changes)
    found = faults_of(content, masks=masks)

    def every(rows, *_):
        return np.ones(rows.count, dtype=bool)

    with (
        mock.patch.object(screening, "_odd_images", every),
        mock.patch.object(screening, "_odd_annotations", lambda _, rows, *__: every(rows)),
    ):
        assert str(found) == str(faults_of(content, masks=masks))


@settings(max_examples=60, deadline=None)
@given(CHANGES, st.integers(1, 60), st.permutations(["images", "annotations", "categories"]))
def test_neither_cuts_nor_the_order_of_the_parts_change_what_is_found(changes, piece, order):
    content = _changed(changes)
    with mock.patch.object(json_lists, "PIECE", piece):
        found = faults_of({name: content[name] for name in order})
    assert str(found) == str(faults_of(content))


def test_a_sound_file_is_not_read_twice(tmp_path, monkeypatch):
    content = lvis_content()
    content["annotations"][0]["segmentation"] = {"size": [30, 40], "counts": FULL}
    content["annotations"][1]["segmentation"] = []
    path = write_json(tmp_path / "a.json", content)
    plain = json_lists.JsonFile.plain

    def never_a_list(self, start, stop, *, what="list"):
        assert what == "name"
        return plain(self, start, stop, what=what)

    monkeypatch.setattr(json_lists.JsonFile, "plain", never_a_list)
    assert scan(path, masks=True).faults == []


def test_unknown_keys_and_members_are_passed_over(tmp_path):
    content = {"info": {"n": [1]}, "extra": [{"a": [{}, {}]}], **lvis_content(), "licenses": [1.5]}
    for part in ("images", "annotations"):
        for record in content[part]:
            record["more"] = {"nested": [{"a": "}, {"}, {}]}
    path = write_json(tmp_path / "a.json", content)
    found = scan(path, masks=True)
    assert found.faults == []
    assert found.annotations.count == 4


def test_ids_that_are_wrong_do_not_hide_other_faults():
    content = lvis_content()
    content["images"][0]["id"] = "11"
    content["annotations"][1]["bbox"] = [0, 0, 0, 0]
    content["categories"][0]["name"] = ""
    fields = [fault.field for fault in faults_of(content)]
    assert fields == ["name", "id", "image_id", "bbox", "image_id", "image_id"]


@pytest.mark.parametrize("image", [{"width": 0}, {"id": None}, {"id": 5}])
def test_faults_of_an_image_and_a_category_do_not_hide_those_of_its_annotations(image):
    content = lvis_content()
    content["categories"][2]["id"] = "7"
    content["images"][0] |= image
    first, second, third, fourth = content["annotations"]
    first["bbox"] = [1e30, 0, 5, 5]
    second["image_id"] = 99
    third["segmentation"] = [[1, 2, 3]]
    fourth["segmentation"] = {"size": [30, 40], "counts": [5, 5]}
    told = "\n".join(map(str, faults_of(content)))
    assert "annotation 1 of image 11: `bbox` is [1e+30, 0, 5, 5]: lies outside any image" in told
    assert "annotation 0 of image 99: `image_id` is 99: no image has this id" in told
    assert "annotation 0 of image 99: `category_id` is 7: no category has this id" in told
    assert "annotation 9 of image 11: `segmentation` is [1, 2, 3]: a polygon needs" in told
    assert "annotation 4 of image 11: `segmentation.counts` is [5, 5]: the runs add up" in told


def test_of_an_id_given_twice_the_first_counts():
    place, found = look_up(np.array([5, 3, 5]), np.array([5, 3, 4]))
    assert place[:2].tolist() == [0, 1]
    assert found.tolist() == [True, True, False]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_file_as_editors_leave_it_is_read(indent):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        text = json.dumps(coco_content(), indent=indent, ensure_ascii=False)
        path.write_text(text + "\r\n\t ", encoding="utf-8-sig")
        assert scan(path, masks=True).faults == []
