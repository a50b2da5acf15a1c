import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.report.intervals import (
    Estimate,
    mean_interval,
    paired_difference,
    t_critical,
    welch_difference,
)


def test_interval_of_three_values_is_the_one_done_by_hand():
    # 7, 8, 12: mean 9, deviations -2 -1 3, variance 14 / 2 = 7, standard error sqrt(7 / 3);
    # t for 2 degrees of freedom is 4.3027.
    estimate = mean_interval([7.0, 8.0, 12.0])
    assert estimate.mean == 9
    assert estimate.half_width == pytest.approx(4.3027 * math.sqrt(7 / 3))
    assert estimate.deviation == pytest.approx(math.sqrt(7))
    assert estimate.count == 3


def test_one_value_has_a_mean_and_no_interval():
    assert mean_interval([0.3]) == Estimate(0.3, None, 1)


def test_undefined_values_are_left_out_and_not_averaged_as_minus_one():
    assert mean_interval([None, 0.2, None]) == Estimate(0.2, None, 1)
    assert mean_interval([None, None]) == Estimate(None, None, 0)


def test_paired_difference_forgets_what_both_runs_of_a_pair_share():
    # Differences 2, 2, 2: no spread, although the values spread widely.
    estimate = paired_difference([12.0, 22.0, 32.0], [10.0, 20.0, 30.0])
    assert estimate == Estimate(2.0, 0.0, 3)
    assert not estimate.contains_zero


def test_welch_difference_is_the_one_done_by_hand():
    # 1, 3 (variance 2, squared error 1) against 10, 10, 13 (variance 3, squared error 1):
    # (1 + 1)^2 / (1 / 1 + 1 / 2) = 2.67 degrees, rounded down to 2: t = 4.3027.
    estimate = welch_difference([1.0, 3.0], [10.0, 10.0, 13.0])
    assert estimate.mean == -9
    assert estimate.half_width == pytest.approx(4.3027 * math.sqrt(2))
    assert not estimate.contains_zero


def test_welch_difference_against_a_single_run_has_no_interval():
    assert welch_difference([1.0, 2.0], [0.5]) == Estimate(1.0, None, 1)
    assert welch_difference([1.0, 2.0], [0.5]).contains_zero is None


def test_equal_runs_differ_by_exactly_nothing():
    assert welch_difference([0.5, 0.5], [0.5, 0.5]) == Estimate(0.0, 0.0, 2)
    assert welch_difference([0.5, 0.5], [0.5, 0.5]).contains_zero


@given(st.integers(1, 400))
def test_critical_values_are_those_of_scipy(degrees: int):
    stats = pytest.importorskip("scipy.stats")
    assert t_critical(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), abs=0.004)


def test_fractional_degrees_are_rounded_down_which_widens_the_interval():
    assert t_critical(2.99) == t_critical(2)
    assert t_critical(0.4) == t_critical(1)
