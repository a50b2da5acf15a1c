import pytest

from dense_lt.data.faults import MAX_LISTED, Fault, raise_faults, summarize
from dense_lt.utils.errors import DataError

FAULT = Fault(
    "annotation 3 of image 5", "bbox", [1, 2, 0, 4], "width must be above 0", "correct it"
)


def test_no_faults_raise_nothing():
    raise_faults("file.json", [])


def test_one_error_lists_the_first_faults_and_counts_the_others():
    with pytest.raises(DataError) as caught:
        raise_faults("file.json", [FAULT] * (MAX_LISTED + 4))
    lines = str(caught.value).splitlines()
    assert lines[0] == f"file.json: {MAX_LISTED + 4} faults:"
    assert lines[1] == f"  {FAULT}"
    assert lines[-1] == "  ... and 4 more; `dense-lt data check` lists all"


def test_the_setting_that_drops_boxes_is_named_where_it_helps():
    droppable = Fault("a", "bbox", None, "b", "c", droppable=True)
    with pytest.raises(DataError, match=r"data\.drop_invalid_boxes=true"):
        raise_faults("file.json", [droppable])


def test_a_long_value_is_cut():
    assert len(str(Fault("a", "b", "x" * 1000, "c", "d"))) < 200


def _outside(number: int) -> Fault:
    problem = f"reaches {number}.5 pixels out of its image of 640 x {number} pixels"
    return Fault(f"annotation {number} of image {-number}", "bbox", [number], problem, "clip it")


def test_a_thousand_faults_of_one_kind_hide_no_other():
    many = [_outside(number) for number in range(1000)]
    with pytest.raises(DataError) as caught:
        raise_faults("file.json", [*many, FAULT, FAULT])
    lines = str(caught.value).splitlines()
    assert lines[1:4] == [f"  {many[0]}", f"  {FAULT}", f"  {many[1]}"]
    assert lines[-1] == f"  ... and {1002 - MAX_LISTED} more; `dense-lt data check` lists all"


def test_faults_are_counted_by_kind_whatever_their_numbers():
    faults = [FAULT, *(_outside(number) for number in range(1000))]
    assert summarize(faults) == [
        "1,000 x annotation `bbox`: reaches # pixels out of its image of # x # pixels",
        "1 x annotation `bbox`: width must be above #",
    ]
