"""A weighted resample equals copies of the images that were drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dense_lt.evaluation.openimages import RankedEntries, average_precision, count_truth
from dense_lt.evaluation.openimages_bootstrap import (
    bootstrap_openimages,
    class_precision,
    classes_of,
)
from dense_lt.evaluation.openimages_truth import OpenImagesTruth
from dense_lt.evaluation.resampling import draw_weights

IMAGES, CLASSES = 12, 4


def _make(seed: int) -> tuple[OpenImagesTruth, RankedEntries]:
    rng = np.random.default_rng(seed)
    count = 40
    nothing = np.zeros((count, 4))
    truth = OpenImagesTruth(
        source="x",
        image_ids=np.array([f"{index:02d}" for index in range(IMAGES)], dtype="S40"),
        classes=tuple("abcd"),
        names=tuple("abcd"),
        ancestors=tuple(np.array([index]) for index in range(CLASSES)),
        image=rng.integers(0, IMAGES, count).astype(np.int32),
        category=rng.integers(0, CLASSES - 1, count).astype(np.int32),
        boxes=nothing,
        group_of=np.zeros(count, bool),
        verified=np.ones((IMAGES, CLASSES), bool),
    )
    # True positives are made of objects, so that weights never find more than there is.
    found = np.flatnonzero(rng.random(count) < 0.6)
    wrong = rng.integers(0, IMAGES, 50)
    category = np.concatenate([truth.category[found], rng.integers(0, CLASSES, 50)])
    image = np.concatenate([truth.image[found], wrong])
    true = np.arange(len(category)) < len(found)
    order = np.lexsort((rng.random(len(category)), category))
    return truth, RankedEntries(
        category[order].astype(np.int32), image[order].astype(np.int32), true[order]
    )


@pytest.mark.parametrize("seed", range(10))
def test_weights_equal_copies(seed: int) -> None:
    truth, entries = _make(seed)
    weights = next(draw_weights(IMAGES, 4, seed))
    resampled = class_precision(classes_of(truth, entries), weights, CLASSES)  # (C, S)
    for index, drawn in enumerate(weights):
        copies = np.repeat(np.arange(len(entries.true)), drawn[entries.image])
        objects = np.repeat(np.arange(len(truth.image)), drawn[truth.image])
        expected = average_precision(
            RankedEntries(entries.category[copies], entries.image[copies], entries.true[copies]),
            count_truth(replace(truth, category=truth.category[objects])),
        )
        np.testing.assert_allclose(resampled[:, index], expected, rtol=0, atol=1e-12)


def test_headlines_have_samples() -> None:
    truth, entries = _make(0)
    samples = bootstrap_openimages(truth, entries, np.array([0, 1, 2, 3]), resamples=30)
    assert list(samples.values) == ["mAP", "AP1", "AP2", "AP3", "AP4", "AP5"]
    assert samples.values["mAP"].std() > 0
    assert np.isnan(samples.values["AP5"]).all()
    assert list(bootstrap_openimages(truth, entries, None, resamples=3).values) == ["mAP"]
