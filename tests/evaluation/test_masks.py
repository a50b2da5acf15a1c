import numpy as np
import pytest

from dense_lt.evaluation.masks import (
    PackedMasks,
    box_as_polygon,
    decode_mask,
    encode_segmentation,
    mask_areas,
    mask_boxes,
)
from dense_lt.utils.errors import DataError

SIZE = (20, 30)


def _rectangle(x, y, width, height):
    return encode_segmentation(box_as_polygon([x, y, width, height]), SIZE)


def test_packing_keeps_every_mask():
    rles = [_rectangle(x, 2, 3, 4) for x in range(5)]
    packed = PackedMasks.pack(rles)
    assert packed.take(np.arange(5)) == rles
    assert packed.select(np.array([3, 1])).take(np.arange(2)) == [rles[3], rles[1]]
    assert PackedMasks.join([packed, packed]).take(np.arange(10)) == rles * 2
    assert len(PackedMasks.join([])) == 0


def test_areas_of_more_than_255_masks_are_right():
    """A rectangle of width w and height 4 has 4 w pixels."""
    widths = np.arange(300) % 7 + 1
    rles = [_rectangle(0, 0, int(width), 4) for width in widths]
    assert mask_areas(PackedMasks.pack(rles)).tolist() == (4 * widths).tolist()


def test_boxes_are_tight():
    boxes = mask_boxes(PackedMasks.pack([_rectangle(5, 6, 7, 8)]))
    assert boxes.tolist() == [[5, 6, 7, 8]]


def test_polygons_and_run_lengths_give_the_same_mask():
    """Columns first: 2 * 20 + 3 pixels outside, 4 inside, the rest outside."""
    counts = [43, 4, 600 - 47]
    expected = _rectangle(2, 3, 1, 4)
    encoded = encode_segmentation({"size": list(SIZE), "counts": counts}, SIZE)
    assert encoded["counts"] == expected["counts"]
    text = {"size": list(SIZE), "counts": expected["counts"].decode()}
    assert encode_segmentation(text, SIZE)["counts"] == expected["counts"]


@pytest.mark.parametrize(
    ("segmentation", "size", "message"),
    [
        (None, SIZE, "neither a list of polygons"),
        ([], SIZE, "neither a list of polygons"),
        ({"size": [20, 30]}, SIZE, "neither a list of polygons"),
        ({"size": [30, 20], "counts": "abc"}, SIZE, r"its size is \[30, 20\], its image is"),
        ({"size": [20, 30], "counts": [5, 5]}, SIZE, "add up to 10 pixels, height x width = 600"),
        ({"size": [20, 30], "counts": "55"}, None, "add up to 10 pixels, height x width = 600"),
        ({"size": [20, 30], "counts": "\x01\x02zz"}, SIZE, "cannot be decoded as run lengths"),
        ({"size": [20], "counts": [20]}, None, r"its size is \[20\]; \[height, width\]"),
        ([[1, 2, 3]], SIZE, "polygons that cannot be read"),
        ([[1, 2, 3, 4, 5, 6]], None, "need the height and the width"),
        ([[1, 2, 3, 4, 5, 6]], (0, 0), "need the height and the width"),
    ],
)
def test_what_is_no_mask_says_why(segmentation, size, message):
    with pytest.raises(ValueError, match=message):
        encode_segmentation(segmentation, size)


@pytest.mark.filterwarnings("error")
def test_pixels_of_a_mask_come_without_a_warning():
    pixels = decode_mask(_rectangle(3, 2, 5, 4))
    assert pixels.shape == SIZE
    assert pixels.sum() == pixels[2:6, 3:8].sum() == 5 * 4


def test_pixels_that_no_run_fills_are_never_handed_out():
    with pytest.raises(DataError, match="the runs add up to 10 pixels"):
        decode_mask({"size": [20, 30], "counts": b"55"})
