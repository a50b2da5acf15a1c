import numpy as np
import pytest
from helpers.shapes import assert_in_step, color_of, ellipse, painted, rectangle
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.data.augment.occlusion import Layers
from dense_lt.data.transforms import Annotated


def _top(height: int, width: int, label: int = 5) -> tuple[Annotated, np.ndarray]:
    """A plain rectangle to lay on top."""
    sample = painted((height, width), [rectangle(0, 0, width, height)], first_label=label)
    return sample, np.ones((height, width), dtype=bool)


@pytest.mark.parametrize("masks", [True, False])
def test_a_side_that_is_covered_moves_to_where_the_object_is_seen(masks):
    """Of 10 to 30 by 10 to 30, the part right of 22 is covered from top to bottom."""
    layers = Layers(painted((50, 60), [rectangle(10, 10, 30, 30)], masks=masks), 0.1)
    top, region = _top(30, 20)
    layers.lay(top if masks else top._replace(masks=None), region, (22, 5))
    assert layers.sample.labels.tolist() == [0, 5]
    assert layers.sample.boxes.tolist() == [[10, 10, 22, 30], [22, 5, 42, 35]]
    assert (layers.sample.image[5:35, 22:42] == color_of(5)).all()
    if masks:
        assert layers.sample.masks.areas().tolist() == [12 * 20, 600]


def test_a_hole_in_the_middle_leaves_the_box_and_cuts_the_outline():
    layers = Layers(painted((50, 60), [rectangle(10, 10, 40, 40)]), 0.1)
    layers.lay(*_top(10, 10), (20, 20))
    assert layers.sample.boxes[0].tolist() == [10, 10, 40, 40]
    bitmap = layers.sample.masks.to_bitmaps((50, 60))[0]
    assert bitmap.sum() == 900 - 100
    assert not bitmap[20:30, 20:30].any()


def test_objects_that_are_hardly_seen_any_more_are_left_out():
    rings = [rectangle(10, 10, 30, 30), rectangle(10, 40, 30, 48), rectangle(50, 0, 60, 10)]
    layers = Layers(painted((50, 60), rings), 0.25)
    layers.lay(*_top(16, 20), (10, 10))  # a fifth of object 0 is left
    layers.lay(*_top(6, 20), (10, 40))  # a quarter of object 1, which is no more than a quarter
    assert layers.sample.labels.tolist() == [2, 5, 5]


def test_what_is_covered_bit_by_bit_counts_from_the_beginning():
    """Each time half of what is left is covered: 1/2, 1/4, 1/8 of the object."""
    layers = Layers(painted((50, 60), [rectangle(0, 0, 40, 10)]), 0.2)
    for left, width in ((20, 20), (10, 10)):
        layers.lay(*_top(10, width), (left, 0))
        assert layers.sample.labels[0] == 0
    layers.lay(*_top(10, 5), (5, 0))
    assert layers.sample.labels.tolist() == [5, 5, 5]


def test_what_was_laid_before_is_covered_too():
    layers = Layers(painted((50, 60), []), 0.1)
    layers.lay(*_top(20, 20, label=1), (0, 0))
    layers.lay(*_top(20, 20, label=2), (5, 0))
    assert layers.sample.labels.tolist() == [1, 2]
    assert layers.sample.boxes.tolist() == [[0, 0, 5, 20], [5, 0, 25, 20]]


def test_untouched_objects_stay_exactly_as_they_are():
    ring = ellipse((15.3, 20.7), (8.2, 12.9), 0.3)
    before = painted((60, 60), [ring])
    layers = Layers(before, 0.1)
    layers.lay(*_top(10, 10), (40, 40))
    assert (layers.sample.boxes[0] == before.boxes[0]).all()
    assert (layers.sample.masks.rings_of(0)[0] == ring).all()


def test_a_box_that_is_looser_than_its_outline_stays_as_loose():
    sample = painted((50, 60), [rectangle(10, 10, 30, 30)])
    sample = sample._replace(boxes=np.array([[8.5, 9.5, 32, 30.5]], dtype=np.float32))
    layers = Layers(sample, 0.1)
    layers.lay(*_top(30, 20), (22, 5))
    assert layers.sample.boxes[0].tolist() == [8.5, 9.5, 24, 30.5]  # 8 pixels off the right side


def test_the_lowest_layer_is_not_changed():
    sample = painted((50, 60), [rectangle(10, 10, 30, 30)])
    pixels, boxes = sample.image.copy(), sample.boxes.copy()
    layers = Layers(sample, 0.1)
    layers.lay(*_top(30, 20), (22, 5))
    assert (sample.image == pixels).all()
    assert (sample.boxes == boxes).all()


@given(
    placed=st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 40), st.integers(4, 25), st.integers(4, 25)),
        min_size=1,
        max_size=5,
    )
)
def test_outlines_and_boxes_are_those_of_a_picture_painted_layer_by_layer(placed):
    """Every layer gets a number; an object's pixels are those that still bear it at the end."""
    size = (65, 75)
    numbers = np.full(size, -1)
    below = painted(size, [ellipse((30, 30), (22, 14), 0.4)])
    numbers[below.masks.to_bitmaps(size)[0] != 0] = 0
    layers = Layers(below, 0.0)
    for number, (x, y, width, height) in enumerate(placed, 1):
        top = painted(
            (height, width), [ellipse((width / 2, height / 2), (width / 2, height / 2), 0)]
        )
        region = top.masks.to_bitmaps((height, width))[0] != 0
        layers.lay(top._replace(labels=np.array([number])), region, (x, y))
        numbers[y : y + height, x : x + width][region] = number
    sample = layers.sample
    assert sorted(sample.labels.tolist()) == sorted(set(numbers[numbers >= 0].tolist()))
    for label, bitmap in zip(sample.labels, sample.masks.to_bitmaps(size), strict=True):
        assert ((bitmap != 0) == (numbers == label)).all()


def test_boxes_bound_what_is_left_of_the_outlines():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        layers = Layers(painted((80, 90), [ellipse((40, 40), (30, 20), 0.5)]), 0.1)
        for label in (1, 2, 3):
            top = painted((30, 40), [ellipse((20, 15), (17, 12), 0.3)], first_label=label)
            region = top.masks.to_bitmaps((30, 40))[0] != 0
            layers.lay(top, region, (int(rng.integers(50)), int(rng.integers(50))))
        assert_in_step(layers.sample, tolerance=1.5, purity=0.9)
