"""A weighted resample equals scoring the images that were drawn, copies and all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.evaluation_cases import make_case
from helpers.evaluation_oracle import columns

from dense_lt.evaluation.bootstrap import bootstrap, class_precision
from dense_lt.evaluation.lvis import Matched, match_detections
from dense_lt.evaluation.metrics import class_precision as measured_precision
from dense_lt.evaluation.resampling import draw_weights
from dense_lt.evaluation.rules import LVIS
from dense_lt.evaluation.score import ScoreSettings, score

CAP = 6
Case = tuple[dict[str, Any], list[dict[str, Any]]]


def _match(case: Case) -> Matched:
    return match_detections(*columns(*case), LVIS, caps=(CAP,))


def _drawn(case: Case, weights: np.ndarray) -> Case:
    """The images as often as they were drawn, copies side by side."""
    document, records = case
    images = sorted(document["images"], key=lambda image: image["id"])
    copies = {
        image["id"]: [image["id"] * 100 + copy for copy in range(weight)]
        for image, weight in zip(images, weights.tolist(), strict=True)
    }

    def copy(entries: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
        return [{**entry, key: new} for entry in entries for new in copies[entry[key]]]

    drawn = {
        **document,
        "images": copy(images, "id"),
        "annotations": copy(document["annotations"], "image_id"),
    }
    return drawn, copy(records, "image_id")


@pytest.mark.parametrize("seed", range(15))
def test_weights_equal_copies(seed: int) -> None:
    case = make_case(seed, images=10, ties=False)
    weights = next(draw_weights(10, 3, seed))
    resampled = class_precision(_match(case), weights, CAP)  # (C, 2, S)
    for index, drawn in enumerate(weights):
        expected = measured_precision(_match(_drawn(case, drawn)).curves(CAP))
        for number in range(2):
            values = [np.nan if value is None else value for value in expected[number]]
            np.testing.assert_allclose(resampled[:, number, index], values, rtol=0, atol=1e-12)


def test_every_image_once_gives_the_measured_numbers() -> None:
    matched = _match(make_case(3, images=30))
    once = class_precision(matched, np.ones((1, 30), np.int32), CAP)
    for number, values in enumerate(measured_precision(matched.curves(CAP))):
        expected = [np.nan if value is None else value for value in values]
        np.testing.assert_allclose(once[:, number, 0], expected, rtol=0, atol=1e-12)


def test_resamples_draw_as_many_images_as_there_are() -> None:
    blocks = list(draw_weights(7, 300, 0))
    weights = np.concatenate(blocks)
    assert weights.shape == (300, 7)
    assert set(weights.sum(axis=1).tolist()) == {7}


def test_threads_do_not_change_the_numbers() -> None:
    case = make_case(3, images=30)
    truth, _ = columns(*case)
    one, two = (
        bootstrap(_match(case), truth, cap=CAP, resamples=200, threads=count) for count in (1, 2)
    )
    assert one.drawn == two.drawn
    for name, values in one.values.items():
        np.testing.assert_array_equal(values, two.values[name])


def test_results_carry_intervals_around_the_headline_numbers() -> None:
    truth, found = columns(*make_case(3, images=40))
    result = score(truth, found, ScoreSettings(resamples=100))
    assert result.intervals is not None
    assert result.intervals["resamples"] == 100
    assert set(result.intervals["metrics"]) == {"AP", "AP50", "APr", "APc", "APf"}
    low, high = result.intervals["metrics"]["AP"]
    assert 0 <= low < (result.metrics["AP"] or 0) < high <= 1


def test_without_detections_the_interval_is_zero() -> None:
    document, _ = make_case(3, images=10)
    result = score(*columns(document, []), ScoreSettings(resamples=20))
    assert result.intervals is not None
    assert result.intervals["metrics"]["AP"] == (0, 0)
