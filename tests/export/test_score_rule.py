"""Calibration in an exported detector is that of saved detections."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.evaluation_cases import make_case
from helpers.evaluation_oracle import columns

from dense_lt.evaluation.calibration import ClassTemperature, LogitAdjustment, NorCal
from dense_lt.export.score_rule import class_temperature, logit_adjustment, norcal

IMAGES, INSTANCES = (1000, 10, 0, 100, 1000), (8000, 20, 0, 500, 1000)


@pytest.mark.parametrize(
    ("rule", "method"),
    [
        (norcal(IMAGES, 0.6), NorCal(0.6)),
        (logit_adjustment(INSTANCES, 0.3), LogitAdjustment(0.3)),
        (class_temperature(IMAGES, 0.2), ClassTemperature(0.2)),
    ],
)
def test_scores_change_as_those_of_saved_detections_do(rule, method):
    truth, found = columns(*make_case(0, images=20, ties=False))
    truth = replace(truth, train_images=IMAGES, train_instances=INSTANCES)
    known = np.isin(found.category_ids, truth.category_ids)
    ids, scores = found.category_ids[known], found.scores[known]
    expected = method(found, truth).scores[known]
    label = np.searchsorted(truth.category_ids, ids)
    every_class = torch.tensor(scores, dtype=torch.float32)[:, None].expand(-1, len(IMAGES))
    given = rule(every_class).numpy()[np.arange(len(label)), label]
    assert len(set(label.tolist())) == len(IMAGES)
    np.testing.assert_allclose(given, expected, rtol=2e-5, atol=1e-7)
    assert np.abs(given - scores).max() > 0.01


def test_certain_scores_stay():
    rule = norcal(IMAGES, 0.6)
    ends = torch.tensor([[0.0] * 5, [1.0] * 5])
    torch.testing.assert_close(rule(ends), ends, rtol=0, atol=0)
