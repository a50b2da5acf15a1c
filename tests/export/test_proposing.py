"""Proposals of a batch are those of its images, one by one, filled up with boxes of no size."""

import pytest
import torch
from helpers.export_two_stage import small_two_stage

from dense_lt.export.proposing import Proposer
from dense_lt.export.suppression import suppress

SIZES = [(64, 96), (40, 70), (56, 30)]


@pytest.mark.parametrize("limits", [(20, 15), (60, 40), (1000, 1000)])
def test_proposals_are_those_of_every_image(limits):
    most, count = limits
    proposals = {"anchors": {"scales": [2.0]}, "test": {"pre_nms_top_k": most, "proposals": count}}
    network = small_two_stage(plain_maps=True, proposals=proposals).proposals
    generator = torch.Generator().manual_seed(2)
    maps = [torch.randn(3, 8, 8 // 2**i, 12 // 2**i, generator=generator) for i in range(3)]
    with torch.no_grad():
        boxes, scores = Proposer(network, suppress)(maps, torch.tensor(SIZES))
        expected = network(maps, SIZES, None)
    available = sum(min(most, 3 * x.shape[2] * x.shape[3]) for x in maps)
    assert boxes.shape == (3, min(count, available), 4)
    for image in range(3):
        own = len(expected.boxes[image])
        torch.testing.assert_close(boxes[image, :own], expected.boxes[image])
        torch.testing.assert_close(scores[image, :own], expected.scores[image])
        assert not boxes[image, own:].any()
        assert not scores[image, own:].any()
    if count == 1000:
        assert own < boxes.shape[1]


def test_no_proposal_lies_in_padding():
    network = small_two_stage(plain_maps=True).proposals
    maps = [torch.ones(2, 8, 8 // 2**i, 12 // 2**i) for i in range(3)]
    with torch.no_grad():
        boxes, scores = Proposer(network, suppress)(maps, torch.tensor([[0, 0], [16, 24]]))
    assert not boxes[0].any()
    assert not scores[0].any()
    assert boxes[1].amax(0).tolist()[2:] <= [24, 16]
    assert (scores[1] > 0).any()
