import numpy as np
import pytest
from helpers.shapes import GREY, assert_in_step, color_of, ellipse, painted, rectangle
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.data.augment.geometry import Keep, draw, join, move_objects, place, shift, warp

ANGLES = st.floats(-3.2, 3.2)


def _turn(angle: float, scale: float, about: tuple[float, float], to: tuple[float, float]):
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([linear, np.array(to) - linear @ about])


def _two_ellipses(masks=True):
    rings = [ellipse((30, 25), (20, 8), 0.4), ellipse((75, 60), (9, 14), 0.2)]
    return painted((90, 110), rings, masks=masks)


@given(angle=ANGLES, scale=st.floats(0.6, 2.5), x=st.integers(10, 80), y=st.integers(10, 80))
def test_boxes_bound_outlines_over_the_right_pixels_after_any_turn_and_cut(angle, scale, x, y):
    matrix = _turn(angle, scale, (55, 45), (x, y))
    moved = warp(_two_ellipses(), matrix, (80, 100), fill=GREY, keep=Keep(visible=0.1, side=4))
    assert_in_step(moved, tolerance=1.5)


def test_a_turned_box_without_outline_is_drawn_around_its_corners():
    sample = painted((100, 100), [rectangle(40, 40, 60, 50)], masks=False)
    matrix = _turn(np.pi / 4, 1.0, (50, 45), (50, 50))
    moved = warp(sample, matrix, (100, 100), fill=0)
    half = (20 + 10) / 2 / np.sqrt(2)  # half the sum of the sides, along the diagonal
    assert np.abs(moved.boxes - [50 - half, 50 - half, 50 + half, 50 + half]).max() < 1e-3


def test_a_turned_box_with_an_outline_is_drawn_around_the_outline():
    diamond = np.array([[50, 30], [70, 50], [50, 70], [30, 50]], dtype=np.float32)
    matrix = _turn(np.pi / 4, 1.0, (50, 50), (50, 50))
    moved = warp(painted((100, 100), [diamond]), matrix, (100, 100), fill=0)
    half = 10 * np.sqrt(2)  # a square of side 20 sqrt 2, now upright; its box's corners reach 40
    assert np.abs(moved.boxes - [50 - half, 50 - half, 50 + half, 50 + half]).max() < 1e-3


def test_pixels_do_not_creep_when_an_image_is_moved_by_whole_pixels():
    sample = painted((40, 50), [rectangle(10, 10, 20, 25)])
    moved = warp(sample, shift(3, -2), (40, 50), fill=7)
    assert (moved.image[:38, 3:] == sample.image[2:, :47]).all()
    assert (moved.image[:, :3] == 7).all()
    assert moved.boxes.tolist() == [[13, 8, 23, 23]]


def test_pixels_follow_boxes_when_an_image_is_enlarged():
    """Four times as large, an edge at 10 is at 40, and interpolation blurs two pixels around it."""
    sample = painted((40, 50), [rectangle(10, 10, 20, 25)])
    moved = warp(sample, np.array([[4.0, 0, 0], [0, 4.0, 0]]), (160, 200), fill=0)
    assert moved.boxes.tolist() == [[40, 40, 80, 100]]
    assert (moved.image[42:98, 42:78] == color_of(0)).all()
    assert (moved.image[60, 2:38] == GREY).all()
    assert (moved.image[60, 82:198] == GREY).all()
    assert (moved.image[60, [38, 39, 40, 41, 78, 79, 80, 81]] != color_of(0)).any(axis=1).all()


@pytest.mark.parametrize(
    ("corner", "box"),
    [((5, 3), [15, 13, 25, 28]), ((-15, -12), [0, 0, 5, 13]), ((0, 0), [10, 10, 20, 25])],
)
def test_an_image_is_placed_cropped_and_padded(corner, box):
    sample = painted((40, 50), [rectangle(10, 10, 20, 25)])
    placed = place(sample, corner, (45, 60), fill=0)
    assert placed.image.shape == (45, 60, 3)
    assert placed.boxes.tolist() == [box]
    assert_in_step(placed, tolerance=0, purity=1)


def test_what_lies_outside_is_left_out_with_its_label_and_outline():
    rings = [rectangle(2, 2, 12, 12), rectangle(30, 20, 44, 36)]
    placed = place(painted((40, 50), rings), (-20, -10), (40, 50), fill=0)
    assert placed.labels.tolist() == [1]
    assert_in_step(placed, tolerance=0, purity=1)


def test_a_box_is_cut_to_what_is_left_of_its_outline():
    """The part of a triangle left of x = 10 ends at y = 20, where its box would go on to 30."""
    triangle = np.array([[0, 10], [20, 30], [20, 10]], dtype=np.float32)
    placed = place(painted((40, 40), [triangle]), (0, 0), (40, 10), fill=0)
    assert placed.boxes.tolist() == [[0, 10, 10, 20]]


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (Keep(), [0, 1, 2, 3]),
        (Keep(visible=0.5), [0, 2, 3]),  # of object 1 two fifths are seen
        (Keep(side=5), [0, 3]),  # objects 1 and 2 are 4 pixels wide
        (Keep(aspect=4), [0, 1, 3]),
    ],
)
def test_objects_that_are_not_worth_learning_are_left_out(keep, kept):
    rings = [
        rectangle(0, 0, 10, 10),
        rectangle(46, 0, 56, 10),
        rectangle(20, 0, 24, 30),
        rectangle(30, 0, 40, 10),
    ]
    assert (
        place(painted((40, 60), rings), (0, 0), (40, 50), fill=0, keep=keep).labels.tolist() == kept
    )


def test_an_image_is_drawn_as_far_as_it_fits():
    canvas = np.zeros((4, 5, 3), dtype=np.uint8)
    draw(canvas, np.full((3, 3, 3), 9, dtype=np.uint8), (3, -1))
    assert canvas[:, :, 0].tolist() == [[0, 0, 0, 9, 9], [0, 0, 0, 9, 9], [0] * 5, [0] * 5]
    draw(canvas, np.full((3, 3, 3), 9, dtype=np.uint8), (7, 9))
    assert canvas.sum() == 4 * 9 * 3


def test_a_class_is_checked_in_the_whole_if_it_was_in_every_part():
    one, two = _two_ellipses(), _two_ellipses()
    one = one._replace(checked=np.array([True, True, False]))
    two = two._replace(checked=np.array([True, False, False]))
    assert join(one.image, [one, two]).checked.tolist() == [True, False, False]
    assert join(one.image, [one, two._replace(checked=None)]).checked.tolist() == [
        True,
        True,
        False,
    ]
    assert join(one.image, [_two_ellipses()]).checked is None


def test_objects_without_an_outline_keep_their_boxes():
    sample = painted((40, 50), [rectangle(10, 10, 20, 25), rectangle(30, 5, 45, 15)])
    empty = sample.masks.from_rings([[], sample.masks.rings_of(1)])
    moved = move_objects(sample._replace(masks=empty), shift(-15, 0), sample.image)
    assert moved.boxes.tolist() == [[0, 10, 5, 25], [15, 5, 30, 15]]
