import numpy as np
import pytest

from dense_lt.data.drawn.layout import Span, choose_classes, spread_over_images
from dense_lt.data.drawn.randomness import RandomStream
from dense_lt.utils.errors import ConfigError


def test_counts_fall_geometrically_to_the_last():
    assert Span(13, 900, 110).counts()[:3] == [900, 755, 634]  # factor (110 / 900)^(1/12) = 0.839
    assert Span(18, 6, 1).counts() == [6, 5, 5, 4, 4, 4, 3, 3, 3, 2, 2, 2, 2, 2, 1, 1, 1, 1]
    assert Span(1, 7, 3).counts() == [7]
    assert Span(0, 7, 3).counts() == []


def test_no_machine_rounds_a_count_otherwise():
    for span in (Span(13, 900, 110), Span(14, 90, 12), Span(18, 6, 1)):
        steps = np.arange(span.classes) / (span.classes - 1)
        exact = span.first * (span.last / span.first) ** steps
        assert (np.abs(exact - np.floor(exact) - 0.5) > 1e-6).all()


@pytest.mark.parametrize("seed", range(5))
def test_every_other_class_differs_from_a_frequent_one_in_one_attribute(seed):
    classes = choose_classes(13, 32, RandomStream(seed))
    assert len(set(classes)) == 45
    assert {kind.shape for kind in classes[:13]} == {kind.shape for kind in classes}
    for kind in classes[13:]:
        nearest = min(sum(a != b for a, b in zip(kind, near, strict=True)) for near in classes[:13])
        assert nearest == 1


def test_more_neighbours_than_there_are_is_an_error():
    with pytest.raises(ConfigError, match="7 common and rare classes, but 1 frequent ones"):
        choose_classes(1, 7, RandomStream(0))
    assert len(choose_classes(1, 6, RandomStream(0))) == 7


def test_more_frequent_classes_than_there_are_is_an_error():
    with pytest.raises(ConfigError, match="150 at most"):
        choose_classes(151, 0, RandomStream(0))


def test_every_class_is_in_as_many_images_as_asked():
    counts = [40, 20, 3, 1]
    images = spread_over_images(counts, 50, RandomStream(0))
    assert len(images) == 50
    assert [sum(label in image for image in images) for label in range(4)] == counts
    assert all(image.count(label) <= 2 for image in images for label in set(image))


def test_images_are_filled_evenly():
    images = spread_over_images([30] * 10, 100, RandomStream(0))
    classes = [len(set(image)) for image in images]
    assert min(classes) >= 3 - 2
    assert max(classes) <= 3 + 2
