"""What a run says of itself before it starts."""

import numpy as np

from dense_lt.cli.describe import repeat_factor_lines


def test_repeat_factors_are_counted_by_range_and_empty_ranges_left_out():
    factors = np.array([1.0, 1.0, 1.2, 1.5, 2.9, 40.0])
    assert repeat_factor_lines(factors) == [
        "repeat factor 1: 2 images",
        "repeat factor 1 to 1.5: 1 images",
        "repeat factor 1.5 to 2: 1 images",
        "repeat factor 2 to 3: 1 images",
        "repeat factor 20 to inf: 1 images",
    ]


def test_without_repetition_there_is_one_line():
    assert repeat_factor_lines(np.ones(1200)) == ["repeat factor 1: 1,200 images"]
