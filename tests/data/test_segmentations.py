import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from dense_lt.data.segmentations import pack, to_mask, unpack

COORDINATES = st.floats(-1000, 1000, allow_nan=False)
POINTS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=6)
POLYGONS = st.lists(POINTS.map(lambda points: [*sum(points, ())]), min_size=1, max_size=3)


@given(POLYGONS)
def test_polygons_come_back_to_the_last_bit(polygons):
    assert unpack(pack(polygons)) == polygons


@pytest.mark.parametrize("nothing", [None, [], {}])
def test_no_segmentation_packs_to_nothing_and_is_an_empty_mask(nothing):
    assert pack(nothing) == b""
    assert unpack(pack(nothing)) is None
    assert to_mask(nothing, 4, 5).tolist() == np.zeros((4, 5)).tolist()


def test_every_form_of_run_lengths_gives_the_same_mask():
    mask = np.zeros((6, 9), dtype=np.uint8)
    mask[1:4, 2:8] = 1
    mask[2, 4] = 0
    encoded = coco_mask.encode(np.asfortranarray(mask))
    as_text = {"size": [6, 9], "counts": encoded["counts"].decode("ascii")}
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends, flat.size]).tolist()
    for runs in (encoded, as_text, {"size": [6, 9], "counts": counts}):
        assert (to_mask(unpack(pack(runs)), 6, 9) == mask).all()


def test_polygons_are_united_and_rasterised_as_pycocotools_does():
    squares = [[0, 0, 4, 0, 4, 4, 0, 4], [6, 6, 8, 6, 8, 8, 6, 8]]
    expected = np.zeros((10, 10), dtype=np.uint8)
    expected[0:4, 0:4] = expected[6:8, 6:8] = 1
    assert (to_mask(squares, 10, 10) == expected).all()


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ({"size": [6, 9], "counts": [5, 5]}, "the runs add up to 10 pixels"),
        ({"size": [6, 9], "counts": "55"}, "the runs add up to 10 pixels"),
        ({"size": [6, 9], "counts": [50, 50]}, "the runs add up to 100 pixels"),
        ({"size": [6, 9], "counts": "\x01\x02zz"}, "cannot be decoded"),
        ({"size": [9, 6], "counts": [54]}, r"its size is \[9, 6\], its image is \[6, 9\]"),
    ],
)
def test_runs_that_do_not_fill_their_image_are_never_decoded(runs, told):
    with pytest.raises(ValueError, match=told):
        to_mask(unpack(pack(runs)), 6, 9)
