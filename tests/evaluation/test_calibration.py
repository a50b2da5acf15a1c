import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.evaluation_cases import make_case
from helpers.evaluation_oracle import columns
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.evaluation.calibration import (
    ClassTemperature,
    Fracal,
    LogitAdjustment,
    NorCal,
    TauNormalization,
)
from dense_lt.evaluation.score import ScoreSettings, score
from dense_lt.utils.errors import DataError

NORMS = (2.0, 0.5, 1.0, 1.0, 1.0)  # their geometric mean is 1
BIASES = (-4.0, -4.0, 0.0, 1.0, -2.0)
DIMENSIONS = (1.9, 1.2, 1.0, 1.5, 1.4)


def _case():
    """Five classes: 1000, 10, no, 100 and 1000 training images."""
    truth, found = columns(*make_case(0, images=20, ties=False))
    images, instances = (1000, 10, 0, 100, 1000), (8000, 20, 0, 500, 1000)
    return replace(truth, train_images=images, train_instances=instances), found


def _by_id(truth, values):
    return dict(zip(truth.category_ids.tolist(), values, strict=True))


def _methods(truth, strength):
    weights = _by_id(truth, list(zip(NORMS, BIASES, strict=True)))
    return [
        NorCal(strength),
        LogitAdjustment(strength),
        ClassTemperature(strength),
        TauNormalization(strength, weights),
        Fracal(strength, _by_id(truth, DIMENSIONS), num_images=5000),
    ]


def _scores_of(truth, found, category):
    return found.scores[found.category_ids == truth.category_ids[category]]


def _logits(scores):
    return np.log(scores) - np.log1p(-scores)


def _before_and_after(method, category):
    truth, found = _case()
    after = method(found, truth)
    return (_logits(_scores_of(truth, own, category)) for own in (found, after))


@pytest.mark.parametrize(("category", "factor"), [(0, 1), (1, 10), (2, 1000**0.5)])
def test_norcal_divides_the_odds_by_the_relative_frequency(category, factor):
    """A class with 10 of 1000 images, gamma 1/2: a = 0.1, so the odds grow tenfold.

    The class with 1000 images keeps its scores, the one without any counts as seen once.
    """
    before, now = _before_and_after(NorCal(0.5), category)
    np.testing.assert_allclose(np.exp(now - before), factor)


def test_logit_adjustment_counts_instances():
    """20 of 8000 instances: the logit grows by log 400; of class four, 1000 of 8000, by log 8."""
    for category, factor in ((0, 1), (1, 400), (4, 8)):
        before, now = _before_and_after(LogitAdjustment(1.0), category)
        np.testing.assert_allclose(now - before, math.log(factor), atol=1e-9)


def test_a_temperature_flattens_the_scores_of_rare_classes():
    """10 of 1000 images, gamma 1/2: T = 100^(1/2) = 10."""
    for category, temperature in ((0, 1), (1, 10)):
        before, now = _before_and_after(ClassTemperature(0.5), category)
        np.testing.assert_allclose(now, before / temperature, rtol=1e-9)


def test_tau_normalisation_is_that_of_the_weights():
    """z = w x + b, |w| = 2 and b = -4, tau 1: z' = (z + 4) / 2 - 4. With |w| = 1/2, x 2 instead."""
    truth, _ = _case()
    for category, factor in ((0, 0.5), (1, 2)):
        before, now = _before_and_after(_methods(truth, 1.0)[3], category)
        np.testing.assert_allclose(now, (before + 4) * factor - 4, rtol=1e-9)


def test_fracal_multiplies_by_the_score_of_a_moved_logit():
    """Class 1: 10 of 5000 images, dimension 1.2, strength 2.

    w = -log10(5 x 10 / 5000) = 2; the mean of d^2 is (3.61 + 1.44 + 1 + 2.25 + 1.96) / 5 = 2.052,
    f = -log10(1.44 / 2.052); s' = sigmoid(z) sigmoid(z + w + f).
    """
    truth, found = _case()
    after = _methods(truth, 2.0)[4](found, truth)
    before, now = _scores_of(truth, found, 1), _scores_of(truth, after, 1)
    moved = _logits(before) + 2 - math.log10(1.44 / 2.052)
    np.testing.assert_allclose(now, before / (1 + np.exp(-moved)), rtol=1e-9)


@pytest.mark.parametrize("method", range(4))
def test_nothing_changes_with_a_strength_of_zero(method):
    truth, found = _case()
    after = _methods(truth, 0.0)[method](found, truth)
    np.testing.assert_allclose(after.scores, found.scores, rtol=1e-12)


@given(strength=st.floats(0, 2), method=st.integers(0, 4))
def test_scores_stay_probabilities_and_keep_their_order_within_a_class(strength, method):
    truth, found = _case()
    found = replace(found, scores=np.concatenate([[0.0, 1.0], found.scores[2:]]))
    after = _methods(truth, strength)[method](found, truth)
    assert ((after.scores >= 0) & (after.scores <= 1)).all()
    for category in range(len(truth.names)):
        before, now = _scores_of(truth, found, category), _scores_of(truth, after, category)
        assert (np.diff(now[np.argsort(before)]) >= 0).all()


@pytest.mark.parametrize("method", range(5))
def test_ap_fixed_does_not_change(method):
    truth, found = _case()
    plain = score(truth, found, ScoreSettings("fixed"))
    settings = ScoreSettings("fixed", calibration=_methods(truth, 0.7)[method])
    assert score(truth, found, settings).metrics == plain.metrics


def test_results_say_that_scores_were_calibrated():
    truth, found = _case()
    plain, calibrated = (
        score(truth, found, ScoreSettings(calibration=method, caps=(2,)))
        for method in (None, NorCal(1.0))
    )
    assert calibrated.rules["calibration"] == "NorCal 1"
    assert calibrated.metrics != plain.metrics


def test_a_quality_branch_is_noted():
    truth, found = _case()
    weights = _by_id(truth, [(1.0, 0.0)] * 5)
    result = score(
        truth, found, ScoreSettings(calibration=TauNormalization(1, weights, has_quality=True))
    )
    assert any("only for heads without a quality branch" in note for note in result.notes)


def test_unknown_training_counts_are_asked_for():
    truth, found = _case()
    unknown = replace(truth, train_images=None, train_instances=None)
    for method in _methods(truth, 1.0)[:3]:
        with pytest.raises(DataError, match="--train-annotations or --categories"):
            method(found, unknown)


def test_a_class_that_the_training_does_not_know_is_named():
    truth, found = _case()
    with pytest.raises(DataError, match=r"category \d+ has no weights in --classifier"):
        TauNormalization(1.0, {4711: (1.0, 0.0)})(found, truth)
