from itertools import pairwise

import pytest
import torch
from helpers.tiny_two_stage import CLASSES, build, config_of, squares
from pydantic import ValidationError

from dense_lt.balance.statistics import commit_all, named_statistics
from dense_lt.models.two_stage.box_head import RegionPredictions
from dense_lt.models.two_stage.regions import Regions
from dense_lt.structures import Masks

MASK = {"channels": 16, "num_convs": 1}


def outlines(boxes):
    corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]].reshape(-1, 2)
    return Masks(corners, torch.arange(len(boxes) + 1) * 4, torch.arange(len(boxes) + 1))


def squares_with_masks():
    images, targets = squares()
    for target in targets:
        target["masks"] = outlines(target["boxes"])
    return images, targets


@pytest.mark.parametrize("htc", [False, True])
def test_every_stage_trains_and_keeps_statistics_of_its_own(htc):
    cascade = {"interleaved": htc, "mask_flow": htc}
    detector = build(
        cascade=cascade, mask=MASK, loss={"kind": "eql_v2"}, head={"class_agnostic": True}
    )
    images, targets = squares_with_masks()
    losses = detector(images, targets)
    names = {f"{name}_{i}" for name in ("classification", "box", "mask") for i in (1, 2, 3)}
    assert set(losses) == names | {"objectness", "proposal_box"}
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in detector.parameters())
    commit_all(detector)
    trackers = named_statistics(detector)
    assert list(trackers) == [f"stages.{i}.loss.classification.statistics" for i in range(3)]
    sums = [tuple(own.positive.tolist()) for own in trackers.values()]
    assert len(set(sums)) == 3


def test_the_losses_of_a_stage_have_its_weight():
    images, targets = squares()
    found = []
    for weights in ((1.0, 0.5, 0.25), (1.0, 1.0, 1.0)):
        detector = build(cascade={"weights": weights})
        torch.manual_seed(0)
        found.append(detector(images, targets))
    weighted, plain = found
    for number, weight in enumerate((1.0, 0.5, 0.25), start=1):
        for name in ("classification", "box"):
            key = f"{name}_{number}"
            assert weighted[key].item() == pytest.approx(weight * plain[key].item(), rel=1e-5)


def test_a_stage_places_the_box_of_the_best_class_inside_of_the_image():
    detector = build(cascade={})
    stage = detector.stages[1]
    regions = Regions(torch.tensor([[10.0, 10, 30, 30], [40, 20, 80, 60]]), torch.tensor([0, 1]))
    logits = torch.zeros(2, CLASSES + 1)
    logits[0, 2] = logits[1, 1] = 3
    codes = torch.zeros(2, CLASSES, 4)
    codes[0, 2, 0] = 10  # by half of its width, in units of 0.05
    codes[1, 1, 2:] = 100
    first, second = stage.refine(RegionPredictions(logits, codes), regions, [(64, 96), (64, 70)])
    torch.testing.assert_close(first, torch.tensor([[20.0, 10, 40, 30]]))
    torch.testing.assert_close(second, torch.tensor([[0.0, 0, 70, 64]]))


def test_objects_are_no_proposals_of_the_next_stage():
    detector = build(cascade={}, regions={"samples": 64, "positive_fraction": 1.0})
    images, targets = squares()
    seen = []
    for stage in detector.stages:
        sampler = stage.sampler
        stage.sampler = lambda boxes, own, sampler=sampler: (
            seen.append([len(image) for image in boxes]) or sampler(boxes, own)
        )
    detector(images, targets)
    assert len(seen) == 3
    for earlier, later in pairwise(seen):
        assert all(b <= a for a, b in zip(earlier, later, strict=True))


def test_scores_are_means_over_stages_and_boxes_those_of_the_last():
    detector = build(cascade={}, inference={"score_threshold": 0.0, "max_detections": 1000}).eval()
    images, _ = squares(1)
    with torch.no_grad():
        (found,) = detector(images)
        levels = detector.pyramid(detector.normalizer(images))
        boxes, *_ = detector.proposals(levels, images.sizes, None)
        scores = []
        for stage in detector.stages:
            regions = Regions.join(boxes)
            predictions = stage.head(levels, regions)
            scores.append(predictions.logits.softmax(-1)[:, :CLASSES])
            boxes = stage.refine(predictions, regions, images.sizes)
        mean = torch.stack(scores).mean(0)
    assert found.scores.max().item() == pytest.approx(mean.max().item(), rel=1e-5)
    row, label = divmod(int(mean.argmax()), CLASSES)
    best = (
        detector.stages[-1]
        .loss.coder.decode(predictions.codes[row, label][None], regions.boxes[row][None])
        .clamp(min=0)
    )
    assert int(found.labels[0]) == label
    torch.testing.assert_close(found.boxes[0, :2], best[0, :2])


def test_masks_are_means_over_stages_with_what_flows_between_them():
    detector = build(
        cascade={"mask_flow": True, "interleaved": True}, mask=MASK, inference={"max_detections": 5}
    ).eval()
    images, _ = squares(1)
    with torch.no_grad():
        (found,) = detector(images)
        levels = detector.pyramid(detector.normalizer(images))
        regions = Regions(found.boxes, torch.zeros_like(found.labels))
        heads = [stage.mask.head for stage in detector.stages]
        masks = [
            head(levels, regions, found.labels, heads[:number]).sigmoid()
            for number, head in enumerate(heads)
        ]
    assert heads[0].flow is None
    torch.testing.assert_close(found.masks, torch.stack(masks).mean(0))
    alone = heads[1](levels, regions, found.labels)
    assert not torch.allclose(alone.sigmoid(), masks[1])


def test_stages_that_do_not_match_and_masks_that_are_not_there_are_refused():
    with pytest.raises(ValidationError, match="give one for each stage"):
        config_of(cascade={"ious": (0.5, 0.6)})
    with pytest.raises(ValidationError, match="set `mask`"):
        config_of(cascade={"mask_flow": True})


def test_the_summary_counts_stages():
    summary = build(cascade={}).summary()
    assert summary["stages"] == 3
    assert summary["classes"] == CLASSES
