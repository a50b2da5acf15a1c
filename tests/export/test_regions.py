"""The two-stage detector in tensors is the detector: the same boxes, scores, classes and masks."""

import pytest
import torch
from helpers.export_two_stage import KINDS, small_two_stage

from dense_lt.export.parity import as_predicted, compare_detections, compare_regions
from dense_lt.export.regions import RegionDetectionOutput, RegionOutput
from dense_lt.export.score_rule import norcal
from dense_lt.export.suppression import suppress
from dense_lt.export.tracing import trial_images
from dense_lt.models.two_stage.regions import Regions
from dense_lt.ops.boxes import clip_boxes_to_image
from dense_lt.structures import ImageBatch

ALL = {"inference": {"max_detections": 1000, "score_threshold": 0.0}}
MANY = {"proposals": {"anchors": {"scales": [2.0]}, "test": {"proposals": 400}}}
"""More proposals than an image has."""


def run(program, images):
    with torch.no_grad():
        return program(*images)


def assert_same(given, expected):
    """The same detections, image after image and best first; equal scores may change places."""
    assert len(given) == len(expected)
    difference = compare_detections(given, expected)
    assert difference.odd == 0
    assert difference.boxes < 1e-4
    assert difference.scores < 1e-6
    assert difference.masks < 1e-5
    torch.testing.assert_close(given[1], expected[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(given[3], expected[3])


@pytest.mark.parametrize("limits", [{}, ALL | MANY], ids=["few", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_detections_are_those_of_the_detector(kind, limits):
    detector = small_two_stage(kind, plain_maps=True, **limits)
    images = trial_images(3, (64, 96))
    given = run(RegionDetectionOutput(detector, suppress), images)
    assert_same(given, run(as_predicted(detector), images))
    assert len(given) == 4 + ("mask" in KINDS[kind])
    most = int(torch.bincount(given[3]).max())
    assert most > 60 if limits else most == 30
    assert len(set(given[2].tolist())) == 4 or not limits


@pytest.mark.parametrize(
    "changed",
    [
        {"inference": {"proposal_scores": True}},
        {"proposals": {"anchors": {"scales": [2.0], "torchvision": True}}},
        {"loss": {"kind": "seesaw"}},
        {"loss": {"kind": "bags"}},
    ],
    ids=["proposal_scores", "torchvision", "seesaw", "bags"],
)
def test_options_change_both_alike(changed):
    detector = small_two_stage("softmax", plain_maps=True, **changed)
    images = trial_images(2, (64, 96))
    given = run(RegionDetectionOutput(detector, suppress), images)
    assert_same(given, run(as_predicted(detector), images))
    assert len(given[1]) > 20


def test_raw_outputs_are_those_of_the_head_on_its_proposals():
    detector = small_two_stage("softmax", plain_maps=True, **MANY)
    pixels, sizes = trial_images(2, (64, 96))
    batch = ImageBatch(pixels, tuple(map(tuple, sizes.tolist())))
    given = run(RegionOutput(detector, suppress), (pixels, sizes))
    assert [column.shape[2:] for column in given] == [(4,), (4, 4), (4,)]
    with torch.no_grad():
        levels = detector.pyramid(detector.normalizer(batch))
        proposals = detector.proposals(levels, batch.sizes, None).boxes
    for image, proposed in enumerate(proposals):
        with torch.no_grad():
            rows = torch.full((len(proposed),), image)
            says = detector.head(levels, Regions(proposed, rows))
        placed = detector.inference.coder.decode(says.codes, proposed[:, None])
        placed = clip_boxes_to_image(placed.flatten(0, 1), batch.sizes[image]).unflatten(0, (-1, 4))
        count = len(proposed)
        assert 40 < count < given[0].shape[1]
        own = [column[image, None, :count] for column in given]
        expected = [says.logits.softmax(-1)[None, :, :4], placed[None], proposed[None]]
        difference = compare_regions(own, expected)
        assert difference.odd == 0
        assert difference.boxes < 1e-4
        assert difference.scores < 1e-6
        for column in given:
            assert not column[image, count:].any(), "what fills up has no size"


@pytest.mark.parametrize("kind", ["masks", "agnostic"])
def test_an_image_of_padding_has_no_detections(kind):
    detector = small_two_stage(kind, plain_maps=True)
    pixels, sizes = trial_images(2, (64, 96))
    sizes[0] = 0
    found = run(RegionDetectionOutput(detector, suppress), (pixels, sizes))
    assert set(found[3].tolist()) == {1}
    nothing = run(RegionDetectionOutput(detector, suppress), (pixels, 0 * sizes))
    assert [len(column) for column in nothing] == [0] * 5


def test_calibration_decides_what_is_found():
    """It is applied before the best entries are chosen, not to those that were."""
    detector, images = small_two_stage("softmax", plain_maps=True), trial_images(2, (64, 96))
    rule = norcal((900, 40, 3, 1), 0.5)
    scores, boxes, _ = run(RegionOutput(detector, suppress, rule), images)
    plain, _, _ = run(RegionOutput(detector, suppress), images)
    torch.testing.assert_close(scores, rule(plain))
    found = run(RegionDetectionOutput(detector, suppress, rule), images)
    for box, score, label, image in zip(*(column[::10] for column in found), strict=True):
        same = (boxes[image, :, label] == box).all(1)
        assert float(scores[image, same, label].max()) == pytest.approx(float(score), abs=1e-6)
    before = run(RegionDetectionOutput(detector, suppress), images)
    assert (found[2] == 3).sum() > (before[2] == 3).sum(), "more of the rarest class"
