import pytest
import yaml
from helpers.tables import table_of

from dense_lt.data.categories import CategoryTable
from dense_lt.data.epochs.repeated import image_labels
from dense_lt.data.mixture.classes import add_counts, map_classes, negatives_of
from dense_lt.data.table import Ragged
from dense_lt.utils.errors import DataError


def _classes(*names: str) -> CategoryTable:
    count = len(names)
    return CategoryTable(names, tuple(range(count)), (1,) * count, (2,) * count, ("rare",) * count)


COMMON = _classes("cat", "dog", "fox")
OWN = _classes("puppy", "cat", "chair")
NAMES = {"puppy": "dog", "chair": None}


def _lists(ragged: Ragged) -> list[list[int]]:
    return [ragged[index].tolist() for index in range(len(ragged))]


def test_labels_follow_names_and_left_out_classes_lose_their_objects():
    mapped = map_classes(table_of([[0, 1], [2], [2, 1]]), OWN, COMMON, NAMES)
    assert [mapped.labels_of(index) for index in range(3)] == [{0, 1}, frozenset(), {0}]
    assert mapped.offsets.tolist() == [0, 2, 2, 3]
    assert mapped.annotation_ids.tolist() == [0, 1, 4]


def test_classes_that_a_part_does_not_know_were_not_looked_for_in_it():
    """Its own classes were; the fox is neither present nor absent."""
    mapped = map_classes(table_of([[0, 1], [2], []]), OWN, COMMON, NAMES)
    assert mapped.negatives is not None
    assert [sorted(one) for one in _lists(mapped.negatives)] == [[], [0, 1], [0, 1]]
    checked = mapped.checked_in(0, 3)
    assert checked is not None
    assert checked.tolist() == [True, True, False]


def test_a_part_with_all_the_classes_stays_without_lists():
    mapped = map_classes(table_of([[0], [2]]), _classes("fox", "dog", "cat"), COMMON, {})
    assert mapped.negatives is None
    assert mapped.labels.tolist() == [2, 0]


def test_counts_of_all_parts_are_added():
    added = add_counts(COMMON, [table_of([[0, 0], [0, 2]])])
    assert added.image_counts == (3, 1, 2)
    assert added.instance_counts == (5, 2, 3)
    assert added.groups == COMMON.groups


def test_a_class_without_counterpart_is_told_with_both_ways_out():
    with pytest.raises(DataError, match=r"a\.json: 2 of 3 classes .*: puppy, chair\. Give their"):
        map_classes(table_of([[0]]), OWN, COMMON, {})


def test_all_classes_without_counterpart_are_listed_ready_to_paste():
    own = _classes("Fox", *(f"odd: {number}, x" for number in range(9)), "cat")
    given = {"odd: 0, x": "dog"}
    with pytest.raises(DataError) as told:
        map_classes(table_of([[0]]), own, COMMON, given)
    names = yaml.safe_load(str(told.value).splitlines()[-1])["names"]
    left_out = {f"odd: {number}, x": None for number in range(1, 9)}
    assert names == {"odd: 0, x": "dog", "Fox": "fox", **left_out}
    map_classes(table_of([[0]]), own, COMMON, names)


def test_a_counterpart_that_does_not_exist_is_told():
    with pytest.raises(DataError, match=r"1 of 3 classes are not among .*: puppy\."):
        map_classes(table_of([[0]]), OWN, COMMON, {"puppy": "dgo", "chair": None})


def test_names_of_classes_that_a_part_does_not_have_are_told():
    with pytest.raises(DataError, match=r"has no class stool, which `names`"):
        map_classes(table_of([[0]]), OWN, COMMON, {**NAMES, "stool": None})


def test_where_a_file_is_silent_every_other_class_is_absent():
    assert _lists(negatives_of(table_of([[0, 2], [], [1]]), 3)) == [[1], [0, 1, 2], [0, 2]]
    assert len(image_labels(table_of([]))[0]) == 0
