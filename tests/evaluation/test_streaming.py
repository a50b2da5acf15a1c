"""What is kept while predicting scores exactly like everything that was found."""

import numpy as np
import pytest
from helpers.evaluation_cases import make_case
from helpers.evaluation_oracle import columns
from hypothesis import given, settings
from hypothesis import strategies as st

from dense_lt.evaluation.prediction_files import read_predictions
from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.rules import COCO, FIXED, LVIS
from dense_lt.evaluation.score import ScoreSettings, score
from dense_lt.evaluation.shards import ShardWriter, predicted_images
from dense_lt.evaluation.streaming import Keep, RisingThresholds, by_image, read_kept

CAP = 9


def _random(rng, images, *, masks=False):
    """Twenty detections an image of four categories, most of category 0, with many ties."""
    if masks:
        return columns(*make_case(0, images=images, masks=True, detections=20), "segm")[1]
    count = 20 * images
    return Predictions(
        "found",
        np.repeat(rng.permutation(images) + 5, 20),
        rng.choice(4, count, p=[0.7, 0.2, 0.08, 0.02]),
        rng.integers(0, 30, count) / 30,
        rng.random((count, 4)),
    )


def _predict(folder, found, images, rank, keep, slack):
    """What one process does; earlier files are looked at first, as after an interruption."""
    thresholds = RisingThresholds(keep, slack=slack)
    if any(folder.glob("*.npz")):
        thresholds.look_at(folder)
    writer = ShardWriter(folder, rank=rank, rows=25)
    for image_id in images:
        own = found.select(np.flatnonzero(found.image_ids == image_id))
        writer.add(thresholds.filter(own), [image_id])
    writer.flush()


def _stream(folder, found, keep, *, processes=3, slack=30):
    """Each process is interrupted after half of its images, and resumed."""
    images = np.unique(found.image_ids).tolist()
    for half in (slice(0, len(images) // 2), slice(len(images) // 2, None)):
        for rank in range(processes):
            _predict(folder, found, images[half][rank::processes], rank, keep, slack)
    assert sorted(predicted_images(folder).tolist()) == images
    return read_kept(folder, keep, slack=slack)


def _full_sort(found, most):
    """Rows of the best of each category: score, then image id, then the order in the image."""
    found = by_image(found)
    order = np.lexsort((np.arange(len(found)), found.image_ids, -found.scores, found.category_ids))
    kept = [
        row
        for category in np.unique(found.category_ids)
        for row in order[found.category_ids[order] == category][:most]
    ]
    return found.select(np.sort(np.array(kept, dtype=np.int64)))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 25),
    processes=st.integers(1, 4),
    slack=st.integers(1, 200),
)
def test_what_is_kept_is_the_best_of_a_full_sort(seed, images, processes, slack, tmp_path_factory):
    found = _random(np.random.default_rng(seed), images)
    kept = _stream(
        tmp_path_factory.mktemp("parts"), found, Keep(CAP), processes=processes, slack=slack
    )
    expected = _full_sort(found, CAP)
    for name in ("image_ids", "category_ids", "scores", "boxes"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(expected, name))


def test_little_is_written_and_less_is_kept(tmp_path):
    """Of 6,000 detections, 4 categories x 9; the files hold a few times that."""
    found = _random(np.random.default_rng(0), 300)
    assert len(_stream(tmp_path, found, Keep(CAP))) == 4 * CAP
    assert len(read_predictions(tmp_path)) < 0.15 * len(found)


def test_thresholds_rise_to_the_last_of_the_best():
    """Two of each category: after 0.5, 0.9 and 0.7, what is below 0.7 is beaten, 0.7 is not."""

    def of(*scores):
        count = len(scores)
        ids = np.full(count, 3)
        return Predictions("x", np.arange(count), ids, np.array(scores), np.ones((count, 4)))

    thresholds = RisingThresholds(Keep(2), slack=1)
    assert len(thresholds.filter(of(0.5, 0.9, 0.7))) == 3
    assert thresholds.filter(of(0.69, 0.7, 0.8)).scores.tolist() == [0.7, 0.8]
    assert thresholds.filter(of(0.79, 0.8)).scores.tolist() == [0.8]


@pytest.mark.parametrize("masks", [False, True])
def test_every_protocol_scores_what_is_kept_like_everything(tmp_path, masks):
    iou_type = "segm" if masks else "bbox"
    truth, found = columns(*make_case(0, images=60, detections=30, masks=masks), iou_type)
    found = by_image(found)
    wanted = [
        ScoreSettings(protocol, iou_type, caps)
        for protocol, caps in (
            ("fixed", (20, 7)),
            ("pool", (20,)),
            ("lvis", (6,)),
            ("coco", (2, 1)),
        )
    ]
    keep = Keep.for_protocols([(own.rules, own.all_caps) for own in wanted])
    assert keep == Keep(20, 6, 2)
    kept = _stream(tmp_path, found, keep)
    assert len(kept) < 0.7 * len(found)
    for own in wanted:
        expected, result = (score(truth, these, own) for these in (found, kept))
        assert result.by_max_detections == expected.by_max_detections
        assert result.per_class == expected.per_class


def test_nothing_is_left_out_for_protocols_that_cap_images():
    assert Keep.for_protocols([(LVIS, (300,)), (COCO, (100, 10, 1))]) is None
    assert Keep.for_protocols([(LVIS, (300, 30)), (FIXED, (10_000,))]) == Keep(10_000, 300, 0)


def test_images_without_detections_and_none_at_all(tmp_path):
    nothing = Predictions.empty()
    thresholds = RisingThresholds(Keep(5, 3, 2))
    writer = ShardWriter(tmp_path)
    writer.add(thresholds.filter(nothing), [7])
    writer.flush()
    assert len(read_kept(tmp_path, Keep(5, 3, 2))) == 0
