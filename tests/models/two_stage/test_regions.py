from collections import OrderedDict

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from dense_lt.models.assigners.max_iou import MaxIoUAssigner
from dense_lt.models.two_stage.regions import RegionPooling, Regions, RegionSampler
from dense_lt.ops.matching import BACKGROUND

SAME = MaxIoUAssigner(positive_iou=0.5, background_iou=0.5, low_quality=False)


def target(boxes, labels):
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.tensor(labels).long()}


def test_sampled_regions_know_their_object():
    torch.manual_seed(0)
    targets = [target([[0.0, 0, 10, 10], [20, 20, 40, 40]], [7, 3]), target([], [])]
    proposals = [
        torch.tensor([[1.0, 0, 10, 10], [50, 50, 60, 60], [21, 21, 40, 40]]),
        torch.tensor([[5.0, 5, 9, 9]]),
    ]
    sampled = RegionSampler(SAME, count=8, positive_fraction=0.75)(proposals, targets)
    assert sampled.regions.counts(2) == [5, 1]
    assert sorted(sampled.labels.tolist()) == [BACKGROUND, BACKGROUND, 3, 3, 7, 7]
    for box, label, truth, own in zip(
        sampled.regions.boxes, sampled.labels, sampled.truth, sampled.objects, strict=True
    ):
        if label == BACKGROUND:
            assert torch.equal(box, truth)
            assert own == BACKGROUND
        else:
            assert torch.equal(truth, targets[0]["boxes"][own])
            assert label == targets[0]["labels"][own]


def test_without_ground_truth_and_proposals_there_are_no_regions():
    sampler = RegionSampler(SAME, add_ground_truth=False)
    sampled = sampler([torch.zeros(0, 4)], [target([[0.0, 0, 10, 10]], [1])])
    assert len(sampled.labels) == 0
    assert sampled.regions.counts(1) == [0]


def test_positives_are_at_most_their_share():
    torch.manual_seed(0)
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(30, 1)
    far = torch.tensor([[50.0, 50, 60, 60]]).repeat(30, 1)
    sampler = RegionSampler(SAME, count=16, positive_fraction=0.25)
    sampled = sampler([torch.cat([boxes, far])], [target([[0.0, 0, 10, 10]], [1])])
    assert int((sampled.labels >= 0).sum()) == 4
    assert len(sampled.labels) == 16


@pytest.mark.parametrize("ratio", [1, 2, 0])
def test_pooling_over_levels_is_that_of_torchvision(ratio):
    torch.manual_seed(1)
    levels = [torch.randn(2, 3, 64 // s, 96 // s) for s in (4, 8, 16, 32)]
    corners = torch.rand(40, 2) * 50
    sides = torch.rand(40, 2) * 60 + 1
    regions = Regions(torch.cat([corners, corners + sides], 1), torch.arange(40) % 2)
    ours = RegionPooling(
        (4, 8, 16),
        size=5,
        sampling_ratio=ratio,
        aligned=False,
        canonical_size=56.0,
        canonical_level=4,
    )(levels, regions)
    assert ours.shape == (40, 3, 5, 5)
    names = ["0", "1", "2"]
    theirs = MultiScaleRoIAlign(names, 5, ratio, canonical_scale=56, canonical_level=4)(
        OrderedDict(zip(names, levels, strict=False)),
        [regions.boxes[regions.images == image] for image in range(2)],
        [(64, 96)] * 2,
    )
    order = torch.cat([(regions.images == image).nonzero().squeeze(1) for image in range(2)])
    torch.testing.assert_close(ours[order], theirs)


def test_a_region_of_canonical_size_is_pooled_from_the_canonical_level():
    pooling = RegionPooling((4, 8, 16, 32), size=7)
    sides = torch.tensor([1.0, 111.9, 112.0, 223.9, 224.0, 447.9, 448.0, 2000.0])
    boxes = torch.stack([sides * 0, sides * 0, sides, sides], dim=1)
    assert pooling.levels_of(boxes).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_one_level_is_pooled_whatever_the_size():
    pooling = RegionPooling((4,), size=2, first=1)
    levels = [torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 16, 16)]
    regions = Regions(torch.tensor([[8.0, 8, 40, 40], [8, 8, 12, 12]]), torch.zeros(2).long())
    assert torch.equal(pooling(levels, regions), torch.ones(2, 1, 2, 2))
