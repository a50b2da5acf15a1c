import numpy as np
import pytest

from dense_lt.evaluation.intervals import Samples, draw_digest, interval
from dense_lt.utils.errors import DataError


def _samples(values, drawn="a"):
    return Samples({"AP": np.array(values, dtype=float)}, drawn)


def test_an_interval_has_the_spread_of_the_resamples_around_the_measured_number():
    """Deviations of 0 .. 100 from their mean are -50 .. 50; the middle 95% are -47.5 .. 47.5."""
    assert interval(np.arange(101.0), 7.0) == pytest.approx((-40.5, 54.5))


def test_undefined_resamples_are_left_out():
    values = np.array([np.nan, 1.0, 1.0])
    assert interval(values, 0.5) == pytest.approx((0.5, 0.5))
    assert interval(values[:1], 0.5) is None


def test_intervals_of_a_number_stay_in_its_range():
    assert _samples([0, 1]).interval("AP", 0.01) == pytest.approx((0, 0.485))
    assert _samples([0, 1]).interval("AP", None) is None


def test_differences_are_paired():
    """Both runs rise and fall together: their difference never changes."""
    values = np.linspace(0.2, 0.4, 50)
    found = _samples(values + 0.1).difference("AP", _samples(values), 0.1)
    assert found == pytest.approx((0.1, 0.1))


def test_differences_between_other_draws_are_refused():
    with pytest.raises(DataError, match="same images, resamples and seed"):
        _samples([1]).difference("AP", _samples([1], drawn="b"), 0.0)


def test_the_digest_tells_draws_apart():
    ids = np.arange(5)
    digests = {draw_digest(ids, 10, 0), draw_digest(ids, 10, 1), draw_digest(ids + 1, 10, 0)}
    assert len(digests) == 3
    assert draw_digest(ids, 10, 0) == draw_digest(ids.copy(), 10, 0)


def test_a_summary_says_what_was_drawn():
    summary = _samples([0.1, 0.3]).summary({"AP": 0.2})
    assert (summary["resamples"], summary["drawn"], summary["level"]) == (2, "a", 0.95)
    assert summary["metrics"]["AP"] == pytest.approx((0.105, 0.295))


def test_samples_survive_their_file(tmp_path):
    samples = _samples([0.1, np.nan])
    samples.save(tmp_path / "resamples.npz")
    again = Samples.load(tmp_path / "resamples.npz")
    assert again.drawn == "a"
    np.testing.assert_array_equal(again.values["AP"], samples.values["AP"])
    (tmp_path / "resamples.npz").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="resamples"):
        Samples.load(tmp_path / "resamples.npz")
