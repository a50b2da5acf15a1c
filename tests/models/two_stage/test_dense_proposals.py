import pytest
import torch
from helpers.tiny_two_stage import CLASSES, build, squares

from dense_lt.models.two_stage.dense_proposals import DenseProposals
from dense_lt.models.two_stage.regions import Regions

DENSE = {
    "kind": "dense",
    "priors": {"scales": (4.0,)},
    "head": {"channels": 16, "num_convs": 1, "norm_groups": 4},
    "inference": {"pre_nms_top_k": 50, "max_detections": 25, "nms_iou": 0.7},
}


def test_a_dense_detector_of_one_class_proposes_and_trains():
    detector = build(proposals=DENSE, loss={"kind": "eql_v2"}, cascade={})
    images, targets = squares()
    losses = detector(images, targets)
    assert {"proposal_classification", "proposal_box", "proposal_quality"} < set(losses)
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in detector.parameters())
    assert isinstance(detector.proposals, DenseProposals)
    assert detector.proposals.loss.classification.num_classes == 1
    with torch.no_grad():
        assert len(detector.eval()(images)) == 2


def test_it_sees_the_levels_that_are_named_and_proposes_so_many():
    detector = build(proposals={**DENSE, "levels": (3, 4)}).eval()
    images, _ = squares()
    with torch.no_grad():
        levels = detector.pyramid(detector.normalizer(images))
        proposals = detector.proposals(levels, images.sizes, None)
    assert detector.summary()["proposal strides"] == [8, 16]
    assert proposals.losses == {}
    assert all(0 < len(own) <= 25 for own in proposals.boxes)


def test_a_micro_batch_counts_by_its_share_of_the_images():
    detector = build(proposals=DENSE)
    images, targets = squares()
    levels = detector.pyramid(detector.normalizer(images))
    whole = detector.proposals(levels, images.sizes, targets)
    half = detector.proposals(levels, images.sizes, targets, share=0.5)
    name = "proposal_classification"
    assert half.losses[name].item() == pytest.approx(whole.losses[name].item() / 2, rel=1e-5)


@pytest.mark.parametrize("more", [{}, {"cascade": {}}])
@torch.no_grad()
def test_scores_are_roots_of_those_of_class_times_proposal(more):
    """The best pair of a region and a class, worked out from what the parts put out."""
    limits = {"score_threshold": 0.0, "max_detections": 1000, "nms_iou": 1.0}
    detector = build(proposals=DENSE, inference=limits, **more).eval()
    images, _ = squares(1)
    (found,) = detector(images)
    levels = detector.pyramid(detector.normalizer(images))
    proposals = detector.proposals(levels, images.sizes, None)
    assert proposals.scores[0].std() > 0
    boxes, means = proposals.boxes, []
    for stage in getattr(detector, "stages", [detector]):
        predictions = stage.head(levels, Regions.join(boxes))
        means.append(predictions.logits.softmax(-1)[:, :CLASSES])
        boxes = stage.refine(predictions, Regions.join(boxes), images.sizes) if more else boxes
    expected = (torch.stack(means).mean(0) * proposals.scores[0][:, None]).sqrt()
    order = expected.flatten().sort(descending=True).values[: len(found.scores)]
    torch.testing.assert_close(found.scores, order)


def test_proposals_count_in_scores_where_that_was_published():
    assert build(proposals=DENSE).inference.proposal_scores
    assert not build().inference.proposal_scores
    assert not build(
        proposals=DENSE, inference={"proposal_scores": False}
    ).inference.proposal_scores
    detector = build(inference={"proposal_scores": True, "score_threshold": 0.0}).eval()
    plain = build(inference={"score_threshold": 0.0}).eval()
    images, _ = squares(1)
    with torch.no_grad():
        (own,), (other,) = detector(images), plain(images)
    assert own.scores.max() > other.scores.max(), "an objectness of about a half beats a class's"
