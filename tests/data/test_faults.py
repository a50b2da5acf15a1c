import pytest

from dense_lt.data.faults import MAX_LISTED, Fault, raise_faults
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
