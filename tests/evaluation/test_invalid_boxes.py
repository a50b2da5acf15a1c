import numpy as np
import pytest
from helpers.evaluation_cases import make_case

from dense_lt.evaluation.annotations import ground_truth_from
from dense_lt.evaluation.invalid_boxes import drop_invalid_boxes
from dense_lt.utils.errors import DataError


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        ([-1, 2, 3, 4], [0, 2, 2, 4]),
        ([8, 18, 5, 5], [8, 18, 2, 2]),
        ([10, 2, 3, 4], None),  # to the right of an image 10 pixels wide
        ([1, 2, 0, 4], None),
        ([1, 2, -3, 4], None),
        ([1, 2, float("nan"), 4], None),
        ([1, 2, 3], None),
        ("box", None),
    ],
)
def test_boxes_are_kept_clipped_or_left_out(box, kept):
    records, indices = drop_invalid_boxes([{"bbox": box}], np.array([[20, 10]], np.int32), [])
    assert [record["bbox"] for record in records] == ([] if kept is None else [kept])
    assert indices.tolist() == ([] if kept is None else [0])


def test_an_image_of_unknown_size_clips_nothing():
    records, _ = drop_invalid_boxes([{"bbox": [5, 5, 900, 9]}], np.zeros((1, 2), np.int32), [])
    assert records[0]["bbox"] == [5, 5, 900, 9]


def test_scoring_leaves_out_what_the_data_set_leaves_out():
    document, _ = make_case(0)
    document["annotations"][1]["bbox"] = [3.0, 3.0, -4.0, 4.0]
    with pytest.raises(DataError, match=r"\(entry 1\) has `bbox`"):
        ground_truth_from(document, source="gt.json")
    truth = ground_truth_from(document, source="gt.json", drop_invalid=True)
    assert len(truth.areas) == len(document["annotations"]) - 1
    assert "1 annotations without a usable box are left out" in " ".join(truth.notes)
