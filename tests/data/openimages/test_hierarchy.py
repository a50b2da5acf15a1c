"""Classes of these tests: pet above cat and dog; toy above dog too; car apart."""

import json

import numpy as np
import pytest

from dense_lt.data.openimages.hierarchy import expand_classes, read_hierarchy
from dense_lt.utils.errors import DataError

CLASSES = ("pet", "cat", "dog", "toy", "car")
TREE = {
    "LabelName": "everything",
    "Subcategory": [
        {
            "LabelName": "pet",
            "Subcategory": [
                {"LabelName": "cat"},
                {"LabelName": "not a class", "Subcategory": [{"LabelName": "dog"}]},
            ],
        },
        {"LabelName": "toy", "Subcategory": [{"LabelName": "dog"}]},
        {"LabelName": "car"},
    ],
}


def write(folder, tree):
    path = folder / "hierarchy.json"
    path.write_text(json.dumps(tree), encoding="utf-8")
    return path


def names(related):
    return {CLASSES[own[0]]: {CLASSES[other] for other in own[1:]} for own in related}


def test_relations_reach_through_what_is_no_class_and_over_several_parents(tmp_path):
    ancestors, descendants = read_hierarchy(write(tmp_path, TREE), CLASSES)
    none = set()
    assert names(ancestors) == {
        "pet": none,
        "cat": {"pet"},
        "dog": {"pet", "toy"},
        "toy": none,
        "car": none,
    }
    assert names(descendants) == {
        "pet": {"cat", "dog"},
        "cat": none,
        "dog": none,
        "toy": {"dog"},
        "car": none,
    }


def test_without_a_hierarchy_nothing_is_related():
    ancestors, descendants = read_hierarchy(None, CLASSES)
    assert [own.tolist() for own in ancestors] == [[index] for index in range(5)]
    assert [own.tolist() for own in descendants] == [[index] for index in range(5)]


def test_every_row_is_copied_to_the_relations_of_its_class(tmp_path):
    ancestors, _ = read_hierarchy(write(tmp_path, TREE), CLASSES)
    rows, classes = expand_classes(np.array([4, 2, 1]), ancestors)
    assert rows.tolist() == [0, 1, 1, 1, 2, 2]
    assert classes.tolist() == [4, 2, 0, 3, 1, 0]


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"LabelName": "root"}, "'Subcategory' is missing"),
        ({"Subcategory": [{"Subcategory": []}]}, "'LabelName' is missing"),
        ([], "LabelName and Subcategory"),
    ],
)
def test_what_is_no_hierarchy_is_refused(tmp_path, tree, told):
    with pytest.raises(DataError, match=rf"hierarchy\.json: no hierarchy: .*{told}"):
        read_hierarchy(write(tmp_path, tree), CLASSES)


def test_what_is_no_json_is_refused(tmp_path):
    (tmp_path / "hierarchy.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_hierarchy(tmp_path / "hierarchy.json", CLASSES)
