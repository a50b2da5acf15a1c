"""The detector in tensors is the detector: the same boxes, scores and classes."""

import pytest
import torch
from helpers.export_models import HEADS, LIMITS, small_detector

from dense_lt.export.dense import DetectionOutput, RawOutput
from dense_lt.export.parity import as_predicted, compare_detections
from dense_lt.export.score_rule import norcal
from dense_lt.export.suppression import suppress
from dense_lt.export.tracing import trial_images
from dense_lt.ops.boxes import clip_boxes_to_image
from dense_lt.structures import ImageBatch

UNLIMITED = {"pre_nms_top_k": 6000, "max_detections": 2000, "score_threshold": 0.0}
OBJECTNESS = {"kind": "eql_v2", "objectness": True}


def run(program, images):
    with torch.no_grad():
        return program(*images)


def assert_same(given, expected):
    """The same detections, image after image and best first; equal scores may change places."""
    difference = compare_detections(given, expected)
    assert difference.odd == 0
    assert difference.boxes < 1e-4
    assert difference.scores < 1e-6
    torch.testing.assert_close(given[1], expected[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(given[3], expected[3])


@pytest.mark.parametrize("limits", [LIMITS, UNLIMITED], ids=["few", "all"])
@pytest.mark.parametrize("head", HEADS)
def test_detections_are_those_of_the_detector(head, limits):
    """PAA moves boxes by votes, whatever the limits."""
    detector = small_detector(head, limits=limits)
    images = trial_images(3, (64, 96))
    given = run(DetectionOutput(detector, suppress), images)
    assert_same(given, run(as_predicted(detector), images))
    most = int(torch.bincount(given[3]).max())
    assert most == LIMITS["max_detections"] if limits is LIMITS else most > 100


def test_objectness_is_in_the_scores():
    detector = small_detector("improved", limits=UNLIMITED, loss=OBJECTNESS)
    assert detector.head.num_logits == 5
    images = trial_images(2, (64, 64))
    given = run(DetectionOutput(detector, suppress), images)
    assert len(given[1]) > 100
    assert_same(given, run(as_predicted(detector), images))


@pytest.mark.parametrize("head", HEADS)
def test_raw_outputs_are_those_of_the_head_decoded(head):
    detector = small_detector(head)
    pixels, sizes = trial_images(2, (64, 96))
    batch = ImageBatch(pixels, tuple(map(tuple, sizes.tolist())))
    with torch.no_grad():
        scores, boxes = RawOutput(detector)(pixels, sizes)
        levels = detector.pyramid(detector.normalizer(batch))
        head_says, priors = detector.head(levels), detector.priors(levels)
        own = torch.cat(head_says.logits, dim=1).sigmoid()
        if head_says.quality is not None:
            own = own * torch.cat(head_says.quality, dim=1).sigmoid()[..., None]
        decoded = detector.inference.coder.decode(torch.cat(head_says.codes, dim=1), priors.boxes)
    torch.testing.assert_close(scores, own, rtol=1e-5, atol=1e-6)
    clipped = [clip_boxes_to_image(b, size) for b, size in zip(decoded, batch.sizes, strict=True)]
    torch.testing.assert_close(boxes, torch.stack(clipped), rtol=1e-5, atol=1e-4)


def test_calibration_decides_what_is_found():
    """It is applied before the best entries are chosen, not to those that were."""
    detector, images = small_detector("improved"), trial_images(2, (64, 96))
    rule = norcal((900, 40, 3, 1), 0.5)
    scores, boxes = run(RawOutput(detector, rule), images)
    plain, _ = run(RawOutput(detector), images)
    torch.testing.assert_close(scores, rule(plain))
    found = run(DetectionOutput(detector, suppress, rule), images)
    for box, score, label, image in zip(*(column[::10] for column in found), strict=True):
        same = (boxes[image] == box).all(1)
        assert float(scores[image, same, label].max()) == pytest.approx(float(score), abs=1e-6)
    before = run(DetectionOutput(detector, suppress), images)
    assert (found[2] == 3).sum() > (before[2] == 3).sum(), "more of the rarest class"
