import numpy as np

from dense_lt.data.epochs.describe import describe_draws


def test_images_are_counted_by_range_and_empty_ranges_left_out():
    assert describe_draws(np.array([1.0, 1.0, 1.2, 1.5, 2.9, 40.0])) == [
        "an epoch is 48 images, 7.93 times the data set",
        "repeat factor 1: 2 images",
        "repeat factor 1 to 1.5: 1 images",
        "repeat factor 1.5 to 2: 1 images",
        "repeat factor 2 to 3: 1 images",
        "repeat factor 20 to inf: 1 images",
    ]


def test_images_that_come_less_than_once_have_lines_of_their_own():
    assert describe_draws(np.array([0.0, 0.1, 0.6, 0.6])) == [
        "an epoch is 1 images, 0.325 times the data set",
        "repeat factor 0: 1 images",
        "repeat factor 0 to 0.25: 1 images",
        "repeat factor 0.5 to 1: 2 images",
    ]


def test_without_repetition_there_are_two_lines():
    assert describe_draws(np.ones(1200)) == [
        "an epoch is 1,200 images, 1 times the data set",
        "repeat factor 1: 1,200 images",
    ]
