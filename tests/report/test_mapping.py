import numpy as np
import pytest

from dense_lt.report.comparison import compare
from dense_lt.report.mapping import mapped, told_apart


def mapped_of(run, **loss):
    run.config["model"]["loss"] = loss
    return mapped(compare([run]).experiments[0])


def test_the_curve_of_efl_is_that_of_its_parameters(make_run):
    """Exponent 2 + 4 (1 - r); weight exponent / 2, times 0.25 and 0.75."""
    found = mapped_of(make_run("a"), kind="equalized_focal", gamma=2.0, scale=4.0, alpha=0.25)
    gamma = 2 + 4 * (1 - found.ratio)
    np.testing.assert_allclose(found.values["gamma"], gamma, rtol=1e-5)
    np.testing.assert_allclose(found.values["positive_weight"], gamma / 8, rtol=1e-5)
    np.testing.assert_allclose(found.values["negative_weight"], gamma * 3 / 8, rtol=1e-5)
    assert 0 < found.group_ratio["rare"] < found.group_ratio["frequent"] <= 1


def test_the_curve_of_eql_v2_is_the_papers_sigmoid(make_run):
    found = mapped_of(make_run("a"), kind="eql_v2", steepness=12.0, mu=0.8, alpha=4.0)
    share = 1 / (1 + np.exp(-12 * (found.ratio - 0.8)))
    np.testing.assert_allclose(found.values["negative_weight"], share, rtol=1e-4)
    np.testing.assert_allclose(found.values["positive_weight"], 1 + 4 * (1 - share), rtol=1e-4)


def test_half_of_eql_v2_has_half_its_curves(make_run):
    whole = mapped_of(make_run("a"), kind="eql_v2")
    half = mapped_of(make_run("b"), kind="eql_v2", reweight_positives=False)
    np.testing.assert_array_equal(half.values["negative_weight"], whole.values["negative_weight"])
    assert set(half.values["positive_weight"]) == {1.0}


def test_what_is_one_number_everywhere_is_not_drawn(make_run):
    focal = mapped_of(make_run("a"), kind="focal", gamma=2.0)
    eql_v2 = mapped_of(make_run("b"), kind="eql_v2")
    assert told_apart([]) == told_apart([focal]) == told_apart([focal, focal]) == []
    assert told_apart([eql_v2]) == ["positive_weight", "negative_weight"]
    assert told_apart([focal, eql_v2]) == ["gamma", "positive_weight", "negative_weight"]


NOTHING_ON = {"kind": "eql_v2", "reweight_negatives": False, "reweight_positives": False}


@pytest.mark.parametrize("loss", [{"kind": "softmax"}, {"kind": "eql_v1"}, NOTHING_ON, {}])
def test_other_losses_have_no_curve(make_run, loss):
    assert mapped_of(make_run("a"), **loss) is None
