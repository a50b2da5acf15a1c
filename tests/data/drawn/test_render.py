import numpy as np
import pytest

from dense_lt.data.drawn.randomness import RandomStream
from dense_lt.data.drawn.render import DrawnClass, render

CLASSES = [
    DrawnClass("circle", "red", "solid"),
    DrawnClass("ring", "white", "stripes"),
    DrawnClass("star", "blue", "dots"),
]


def _render(labels, seed=0, side=80):
    stream = RandomStream(seed)
    return render(labels, CLASSES, side=side, diameters=(16.0, 36.0), stream=stream)


def test_an_image_is_rgb_bytes_and_its_masks_are_of_its_size():
    pixels, objects = _render([0, 1])
    assert pixels.shape == (80, 80, 3)
    assert pixels.dtype == np.uint8
    assert [drawn.label for drawn in objects] == [0, 1]
    assert all(drawn.mask.shape == (80, 80) for drawn in objects)


def test_the_same_stream_draws_the_same_image():
    assert (_render([0, 1, 2])[0] == _render([0, 1, 2])[0]).all()
    assert (_render([0, 1, 2])[0] != _render([0, 1, 2], seed=1)[0]).any()


def test_an_image_may_hold_nothing():
    pixels, objects = _render([])
    assert objects == []
    assert pixels.std() > 5


def test_a_class_is_drawn_where_its_mask_says():
    for seed in range(5):
        pixels, (circle,) = _render([0], seed)
        inside = pixels[circle.mask].mean(axis=0)
        assert inside[0] > 2 * inside[1]
        assert inside[0] > 2 * inside[2]


def test_masks_do_not_overlap_because_they_are_what_is_visible():
    for seed in range(20):
        _, objects = _render([0, 1, 2, 0, 1], seed)
        total = sum(drawn.mask.astype(int) for drawn in objects)
        assert np.max(total) <= 1


def test_the_first_object_of_a_class_is_always_drawn():
    for seed in range(10):
        _, objects = _render([0, 0, 0, 0, 0, 1, 2], seed)
        assert {drawn.label for drawn in objects} == {0, 1, 2}


def test_an_overfull_image_is_drawn_as_well():
    _, objects = _render([0, 1, 2] * 15, side=48)
    assert all(drawn.mask.any() for drawn in objects)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (DrawnClass("star", "red", "solid"), "red_star"),
        (DrawnClass("star", "red", "stripes"), "red_striped_star"),
        (DrawnClass("star", "red", "dots"), "red_dotted_star"),
    ],
)
def test_a_class_is_named_by_its_attributes(kind, name):
    assert kind.name == name
