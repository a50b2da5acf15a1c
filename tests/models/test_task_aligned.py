import pytest
import torch
from helpers.assignment import priors_of, random_boxes, random_forecast
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from dense_lt.models.assigners import base
from dense_lt.models.assigners.task_aligned import TaskAlignedAssigner
from dense_lt.ops.matching import BACKGROUND

CLASSES = 5
SIZE = (96, 128)


def brute_force(priors, boxes, labels, predicted, top_k):
    """Matches and targets, object by object: score^1 x IoU^6 of the centres inside."""
    num = len(priors.boxes)
    matches, targets = [BACKGROUND] * num, [0.0] * num
    overlaps = box_iou(predicted.boxes, boxes)
    alignments, best = {}, [-1.0] * num
    for g, (left, top, right, bottom) in enumerate(boxes.tolist()):
        values = []
        for r, prior in enumerate(priors.boxes.tolist()):
            x, y = (prior[0] + prior[2]) / 2, (prior[1] + prior[3]) / 2
            if min(x - left, y - top, right - x, bottom - y) > 0:
                score = predicted.scores(torch.tensor([r]), labels[g : g + 1]).item()
                values.append((score * overlaps[r, g].item() ** 6, r))
        for value, r in sorted(values, reverse=True)[:top_k]:
            if value > 0 and overlaps[r, g] > best[r]:
                matches[r], best[r], alignments[r] = g, overlaps[r, g].item(), value
    for r, g in enumerate(matches):
        if g >= 0:
            own = [i for i, match in enumerate(matches) if match == g]
            scale = max(best[i] for i in own) / max(alignments[i] for i in own)
            targets[r] = alignments[r] * scale
    return matches, targets


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 8), top_k=st.sampled_from([1, 13, 1000]))
def test_assignment_equals_the_rule_object_by_object(seed, count, top_k):
    priors, boxes = priors_of(SIZE), random_boxes(seed, count, SIZE)
    labels = torch.randint(0, CLASSES, (count,), generator=torch.Generator().manual_seed(seed))
    predicted = random_forecast(seed, priors, CLASSES)
    found = TaskAlignedAssigner(top_k=top_k)(priors, boxes, labels, predicted)
    matches, targets = brute_force(priors, boxes, labels, predicted, top_k)
    assert found.matches.tolist() == matches
    assert found.quality.tolist() == pytest.approx(targets, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("size", [(64, 64), (8, 8), (1333, 128)])
def test_small_and_oblong_inputs(size):
    priors, boxes = priors_of(size), random_boxes(1, 3, size)
    predicted, labels = random_forecast(1, priors, CLASSES), torch.tensor([0, 1, 4])
    found = TaskAlignedAssigner()(priors, boxes, labels, predicted).matches.tolist()
    assert found == brute_force(priors, boxes, labels, predicted, 13)[0]


def test_an_object_far_from_every_prior_claims_nothing():
    priors = priors_of((64, 64))
    box = torch.tensor([[900.0, 900.0, 910.0, 910.0]])
    found = TaskAlignedAssigner()(priors, box, torch.tensor([0]), random_forecast(0, priors, 2))
    assert (found.matches == BACKGROUND).all()
    assert (found.quality == 0).all()


def test_pieces_of_a_crowded_image_give_the_same_as_the_whole(monkeypatch):
    priors, boxes = priors_of(SIZE), random_boxes(3, 300, SIZE)
    labels, predicted = torch.arange(300) % CLASSES, random_forecast(3, priors, CLASSES)
    whole = TaskAlignedAssigner()(priors, boxes, labels, predicted)
    monkeypatch.setattr(base, "PAIRS_AT_ONCE", 700)
    pieces = TaskAlignedAssigner()(priors, boxes, labels, predicted)
    assert torch.equal(pieces.matches, whole.matches)
    assert torch.equal(pieces.quality, whole.quality)
