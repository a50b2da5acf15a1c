from dataclasses import replace

import numpy as np
import pytest
from helpers.evaluation_cases import make_case
from helpers.evaluation_oracle import columns
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.evaluation.calibration import norcal
from dense_lt.evaluation.score import ScoreSettings, score
from dense_lt.utils.errors import DataError


def _case():
    truth, found = columns(*make_case(0, images=20, ties=False))
    return replace(truth, train_images=(1000, 10, 0, 100, 1000)), found


def _scores_of(truth, found, category):
    return found.scores[found.category_ids == truth.category_ids[category]]


def test_the_odds_are_divided_by_the_relative_frequency():
    """A class with 10 of 1000 images, gamma 1/2: a = 0.1, so the odds grow tenfold.

    The class with 1000 images keeps its scores, the one without any counts as seen once.
    """
    truth, found = _case()
    after = norcal(found, truth, 0.5)

    def odds(category):
        before, now = _scores_of(truth, found, category), _scores_of(truth, after, category)
        return now / (1 - now) / (before / (1 - before))

    np.testing.assert_allclose(odds(1), 10)
    np.testing.assert_allclose(odds(0), 1)
    np.testing.assert_allclose(odds(2), 1000**0.5)


def test_nothing_changes_with_an_exponent_of_zero():
    truth, found = _case()
    np.testing.assert_allclose(norcal(found, truth, 0).scores, found.scores, rtol=1e-12)


@given(gamma=st.floats(0, 2))
def test_scores_stay_probabilities_and_keep_their_order_within_a_class(gamma):
    truth, found = _case()
    after = norcal(found, truth, gamma)
    assert ((after.scores >= 0) & (after.scores <= 1)).all()
    for category in range(len(truth.names)):
        before, now = _scores_of(truth, found, category), _scores_of(truth, after, category)
        assert (np.diff(now[np.argsort(before)]) >= 0).all()


def test_results_say_that_scores_were_calibrated():
    truth, found = _case()
    plain, calibrated = (
        score(truth, found, ScoreSettings(norcal=gamma, caps=(2,))) for gamma in (None, 1.0)
    )
    assert calibrated.rules["calibration"] == "NorCal 1"
    assert calibrated.metrics != plain.metrics


def test_unknown_training_counts_are_asked_for():
    truth, found = _case()
    with pytest.raises(DataError, match="--train-annotations or --categories"):
        norcal(found, replace(truth, train_images=None), 1)
