import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dense_lt.data.contours import fill, trace

BITMAPS = arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)
)


def _filled(rings, size=(6, 8)) -> list[list[int]]:
    bitmap = np.zeros(size, dtype=np.uint8)
    fill([np.asarray(ring, dtype=np.float32) for ring in rings], bitmap)
    return bitmap.tolist()


@given(BITMAPS)
def test_what_is_traced_is_filled_again(bitmap):
    filled = np.zeros_like(bitmap)
    fill(trace(bitmap), filled)
    assert (filled == bitmap).all()


@given(BITMAPS)
def test_the_rings_of_a_bitmap_hold_its_area(bitmap):
    """Shoelace formula: outer rings count up, holes down; each pixel is one square."""
    areas = [
        (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2 for x, y in (ring.T for ring in trace(bitmap))
    ]
    assert sum(areas) == bitmap.sum()


def test_a_rectangle_has_four_corners():
    bitmap = np.zeros((6, 8), dtype=np.uint8)
    bitmap[2:5, 3:7] = 1
    (ring,) = trace(bitmap)
    assert sorted(map(tuple, ring.tolist())) == [(3, 2), (3, 5), (7, 2), (7, 5)]


def test_nothing_has_no_ring():
    assert trace(np.zeros((3, 4))) == []
    assert not np.any(_filled([]))
    assert not np.any(_filled([np.zeros((0, 2))]))


def test_a_pixel_is_set_when_its_centre_is_inside():
    """Columns 1.4 to 3.6 hold the centres 1.5, 2.5 and 3.5; rows 0.6 to 2.4 hold 1.5 alone."""
    filled = np.array(_filled([[(1.4, 0.6), (3.6, 0.6), (3.6, 2.4), (1.4, 2.4)]]))
    assert np.argwhere(filled).tolist() == [[1, 1], [1, 2], [1, 3]]


def test_a_centre_on_an_edge_belongs_to_one_side():
    left = np.array(_filled([[(0, 0), (2.5, 0), (2.5, 6), (0, 6)]]))
    right = np.array(_filled([[(2.5, 0), (8, 0), (8, 6), (2.5, 6)]]))
    assert (left + right == 1).all()


def test_parts_that_overlap_add_up():
    square, other = [(0, 0), (4, 0), (4, 4), (0, 4)], [(2, 2), (6, 2), (6, 6), (2, 6)]
    assert np.sum(_filled([square, other])) == 16 + 16 - 4


def test_a_ring_in_the_other_sense_is_a_hole():
    square, hole = [(0, 0), (4, 0), (4, 4), (0, 4)], [(1, 1), (1, 3), (3, 3), (3, 1)]
    assert np.sum(_filled([square, hole])) == 12
    assert np.sum(_filled([square[::-1], hole[::-1]])) == 12


@given(
    st.lists(st.tuples(st.floats(-5, 13), st.floats(-5, 11)), min_size=3, max_size=7),
)
def test_filling_agrees_with_the_winding_number_of_every_centre(ring):
    """The angle that the ring turns around a centre, in whole turns; no shortcut is shared."""
    points = np.asarray(ring, dtype=np.float32).astype(np.float64)
    filled = np.array(_filled([ring]))
    for row, column in np.ndindex(6, 8):
        spokes = points - (column + 0.5, row + 0.5)
        after = np.roll(spokes, -1, axis=0)
        cross = spokes[:, 0] * after[:, 1] - spokes[:, 1] * after[:, 0]
        dot = (spokes * after).sum(axis=1)
        if (np.abs(cross) < 1e-6).any():
            continue  # on an edge or in line with one: not for this formula
        turns = round(np.arctan2(cross, dot).sum() / (2 * np.pi))
        assert filled[row, column] == (turns != 0)
