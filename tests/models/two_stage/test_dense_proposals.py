import pytest
import torch
from helpers.tiny_two_stage import build, squares

from dense_lt.models.two_stage.dense_proposals import DenseProposals

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
        proposals, losses = detector.proposals(levels, images.sizes, None)
    assert detector.summary()["proposal strides"] == [8, 16]
    assert losses == {}
    assert all(0 < len(own) <= 25 for own in proposals)


def test_a_micro_batch_counts_by_its_share_of_the_images():
    detector = build(proposals=DENSE)
    images, targets = squares()
    levels = detector.pyramid(detector.normalizer(images))
    _, whole = detector.proposals(levels, images.sizes, targets)
    _, half = detector.proposals(levels, images.sizes, targets, share=0.5)
    name = "proposal_classification"
    assert half[name].item() == pytest.approx(whole[name].item() / 2, rel=1e-5)
