import pytest
import torch
from helpers.assignment import priors_of, random_boxes
from helpers.tiny_two_stage import build as build_two_stage
from helpers.tiny_two_stage import squares
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.balance.statistics import commit_all, named_statistics
from dense_lt.config.model import OneStageConfig
from dense_lt.models.assigners import base
from dense_lt.models.assigners.crowds import ignore_crowds
from dense_lt.models.build import build_detector
from dense_lt.ops.matching import BACKGROUND, IGNORE
from dense_lt.structures import ImageBatch

EVERYTHING = torch.tensor([[-400.0, -400.0, 500.0, 500.0]])  # priors reach out of the image
DENSE = {
    "kind": "dense",
    "priors": {"scales": (4.0,)},
    "head": {"channels": 16, "num_convs": 1, "norm_groups": 4},
}


def nothing(ignored=None):
    target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    return target if ignored is None else {**target, "ignored": ignored}


def covered(box, region):
    """The part of the area of one box that lies in another."""
    width = min(box[2], region[2]) - max(box[0], region[0])
    height = min(box[3], region[3]) - max(box[1], region[1])
    return max(width, 0) * max(height, 0) / ((box[2] - box[0]) * (box[3] - box[1]))


@given(seed=st.integers(0, 10_000), count=st.integers(1, 8))
def test_background_half_inside_a_region_is_ignored_and_nothing_else(seed, count):
    generator = torch.Generator().manual_seed(seed)
    boxes = priors_of((64, 96)).boxes[::7]
    regions = random_boxes(seed, count, (64, 96))
    matches = torch.randint(IGNORE, 3, (len(boxes),), generator=generator)
    found = ignore_crowds(matches, boxes, nothing(regions)).tolist()
    for box, before, after in zip(boxes.tolist(), matches.tolist(), found, strict=True):
        parts = [covered(box, region) for region in regions.tolist()]
        if before == BACKGROUND and abs(max(parts) - 0.5) > 1e-5:
            assert after == (IGNORE if max(parts) > 0.5 else BACKGROUND)
        elif before != BACKGROUND:
            assert after == before


def test_two_regions_do_not_add_up():
    halves = torch.tensor([[0.0, 0, 4, 10], [6, 0, 10, 10]])
    box, background = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([BACKGROUND])
    assert ignore_crowds(background, box, nothing(halves)).item() == BACKGROUND
    half = torch.tensor([[0.0, 0, 5, 10]])
    assert ignore_crowds(background, box, nothing(half)).item() == IGNORE


def test_a_box_without_area_is_background():
    point, background = torch.tensor([[5.0, 5, 5, 5]]), torch.tensor([BACKGROUND])
    assert ignore_crowds(background, point, nothing(EVERYTHING)).item() == BACKGROUND


def test_many_regions_are_looked_at_in_pieces(monkeypatch):
    boxes = priors_of((64, 96)).boxes
    regions = random_boxes(0, 30, (64, 96))
    background = torch.full((len(boxes),), BACKGROUND)
    whole = ignore_crowds(background, boxes, nothing(regions))
    monkeypatch.setattr(base, "PAIRS_AT_ONCE", 4 * len(boxes))
    assert torch.equal(ignore_crowds(background, boxes, nothing(regions)), whole)
    assert 0 < (whole == IGNORE).sum() < len(boxes)


def one_stage(*, fused, assigner=None):
    torch.manual_seed(0)
    settings = {
        "backbone": {
            "name": "resnet18",
            "norm": "group",
            "options": {"channels": [8, 16, 24, 32], "layers": [1, 1, 1, 1]},
        },
        "pyramid": {"levels": (3, 5), "channels": 16},
        "priors": {"scales": (1.0,) if assigner == "center" else (3.0, 4.0)},
        "head": {"channels": 16, "num_convs": 1, "norm_groups": 4, "fused_loss": fused},
        "loss": {"kind": "equalized_focal"},
        **({"assigner": {"kind": assigner}} if assigner else {}),
        **({"box_coder": "distance"} if assigner == "center" else {}),
    }
    return build_detector(OneStageConfig.model_validate(settings), 4)


@pytest.mark.parametrize("assigner", [None, "atss", "paa", "simota", "task_aligned", "center"])
def test_no_class_gets_a_gradient_inside_a_region_unless_an_object_is_learnt(assigner):
    detector = one_stage(fused=False, assigner=assigner)
    images, targets = squares()
    region = torch.tensor([[0.0, 0.0, 60.0, 64.0]])
    targets[0]["ignored"] = region
    levels = detector.pyramid(detector.normalizer(images))
    priors, predictions = detector.priors(levels), detector.head(levels)
    for logits in predictions.logits:
        logits.retain_grad()
    detector.loss(predictions, priors, targets)["classification"].backward()
    pushes = torch.cat([logits.grad for logits in predictions.logits], dim=1).abs().sum(dim=-1)
    learnt = detector.loss.assign(priors, targets, predictions).labels
    inside = torch.tensor(
        [covered(box, region[0].tolist()) >= 0.5 for box in priors.boxes.tolist()]
    )
    assert 0 < inside.sum() < len(inside)
    assert (pushes[0, inside & (learnt[0] < 0)] == 0).all()
    assert (pushes[0, inside & (learnt[0] >= 0)] > 0).all()
    assert (pushes[0, ~inside & (learnt[0] == BACKGROUND)] > 0).all()
    assert (pushes[1, inside & (learnt[1] == BACKGROUND)] > 0).all()
    assert (learnt[1] == BACKGROUND).any()


@pytest.mark.parametrize("fused", [False, True])
def test_statistics_do_not_see_an_image_that_is_one_crowd(fused):
    images, targets = squares()

    def sums(targets, pixels):
        detector = one_stage(fused=fused)
        detector(ImageBatch(pixels, ((64, 96),) * len(targets)), targets)
        commit_all(detector)
        return [own.negative for own in named_statistics(detector).values()]

    alone = sums(targets[:1], images.pixels[:1])
    with_crowd = sums([targets[0], nothing(EVERYTHING)], images.pixels)
    with_background = sums([targets[0], nothing()], images.pixels)
    assert alone
    for own, crowd, background in zip(alone, with_crowd, with_background, strict=True):
        torch.testing.assert_close(crowd, own)
        assert (background > own).all()


@pytest.mark.parametrize("settings", [{}, {"proposals": DENSE, "cascade": {}}])
def test_a_two_stage_detector_learns_nothing_from_a_crowd_alone(settings):
    detector = build_two_stage(**settings)
    images, _ = squares()
    crowds = [nothing(EVERYTHING)] * 2
    losses = detector(images, crowds)
    assert losses
    assert all(loss.item() == 0 for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    losses = detector(images, [nothing(), nothing()])
    assert any(loss.item() > 0 for loss in losses.values())


def test_regions_and_anchors_in_a_crowd_are_not_drawn_as_background():
    detector = build_two_stage(regions={"samples": 400}, proposals={"samples": 4000})
    images, targets = squares()
    region = [0.0, 0.0, 48.0, 64.0]
    for own in targets:
        own["ignored"] = torch.tensor([region])
    levels = detector.pyramid(detector.normalizer(images))
    proposals = detector.proposals(levels, images.sizes, None)
    sampled = detector.sampler(proposals.boxes, targets)
    background = sampled.regions.boxes[sampled.labels == BACKGROUND].tolist()
    assert background
    assert all(covered(box, region) < 0.5 for box in background)
    assert (sampled.labels >= 0).sum() >= 4  # the objects themselves, of either half
    priors, head = detector.proposals.priors(levels), detector.proposals.head(levels)
    for logits in head.logits:
        logits.retain_grad()
    detector.proposals.loss(head, priors, targets)["objectness"].backward()
    pushes = torch.cat([logits.grad for logits in head.logits], dim=1)[..., 0]
    down = priors.boxes[(pushes > 0).any(dim=0)].tolist()  # background is pushed down
    assert down
    assert all(covered(box, region) < 0.5 for box in down)
