import math

import pytest
import torch
from helpers.assignment import forecast_of, priors_of, random_boxes, random_forecast
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou, generalized_box_iou

from dense_lt.models.assigners import base, forecast
from dense_lt.models.assigners.forecast import rank_in_group
from dense_lt.models.assigners.paa import PaaAssigner
from dense_lt.ops.matching import BACKGROUND
from dense_lt.ops.mixtures import fit_two_components

CLASSES = 5
SIZE = (96, 128)


def cost_of(row, label, box, predicted):
    """Focal loss over all classes and 1.3 times the GIoU loss."""
    cost = 0.0
    for j, score in enumerate(predicted.scores(torch.tensor([row]))[0].tolist()):
        if j == label:
            cost -= 0.25 * (1 - score) ** 2 * math.log(score)
        else:
            cost -= 0.75 * score**2 * math.log(1 - score)
    overlap = generalized_box_iou(predicted.boxes[row : row + 1], box[None]).item()
    return cost + 1.3 * (1 - overlap)


def candidates_of(g, priors, costs, nearest, allowed, top_k):
    """(cost, prior) of the `top_k` cheapest priors of every level, cheapest first."""
    candidates, start = [], 0
    for count in priors.counts:
        rows = [r for r in range(start, start + count) if nearest[r] == g and allowed[r]]
        candidates += sorted((costs(r), r) for r in rows)[:top_k]
        start += count
    return sorted(candidates)


def good_ones(candidates):
    """Those of the lower component up to the most likely; the mixture has a test of its own."""
    if len(candidates) < 2:
        return candidates
    values = torch.tensor([[cost for cost, _ in candidates]], dtype=torch.float64)
    logs = fit_two_components(values, torch.tensor([len(candidates)])).log_densities(values)[0]
    low = [i for i in range(len(candidates)) if logs[i, 0] >= logs[i, 1]]
    until = max(low, key=lambda i: (logs[i].logsumexp(0).item(), -i), default=-1)
    return [candidates[i] for i in low if i <= until]


def brute_force(priors, boxes, labels, predicted, top_k):
    """Object by object, from the full IoU matrix."""
    matches = [BACKGROUND] * len(priors.boxes)
    if len(boxes) == 0:
        return matches
    iou = box_iou(priors.boxes, boxes)
    best, nearest = iou.max(dim=1)
    allowed = (best >= 0.1) | ((iou == iou.max(dim=0).values) & (iou > 0)).any(dim=1)
    for g, (box, label) in enumerate(zip(boxes, labels.tolist(), strict=True)):

        def costs(row, box=box, label=label):
            return cost_of(row, label, box, predicted)

        for _, row in good_ones(candidates_of(g, priors, costs, nearest, allowed, top_k)):
            matches[row] = g
    return matches


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 8), top_k=st.sampled_from([1, 4, 9]))
def test_assignment_equals_the_rule_object_by_object(seed, count, top_k):
    priors, boxes = priors_of(SIZE), random_boxes(seed, count, SIZE)
    labels = torch.randint(0, CLASSES, (count,), generator=torch.Generator().manual_seed(seed))
    predicted = random_forecast(seed, priors, CLASSES)
    found = PaaAssigner(top_k=top_k)(priors, boxes, labels, predicted)
    assert found.matches.tolist() == brute_force(priors, boxes, labels, predicted, top_k)
    assert found.quality is None


@pytest.mark.parametrize("size", [(64, 64), (8, 8), (1333, 128)])
def test_small_and_oblong_inputs(size):
    priors, boxes = priors_of(size), random_boxes(1, 3, size)
    predicted, labels = random_forecast(1, priors, CLASSES), torch.tensor([0, 1, 4])
    found = PaaAssigner()(priors, boxes, labels, predicted).matches.tolist()
    assert found == brute_force(priors, boxes, labels, predicted, 9)
    assert max(found) >= 0


def test_an_object_far_from_every_prior_claims_nothing():
    priors = priors_of((64, 64))
    box = torch.tensor([[900.0, 900.0, 910.0, 910.0]])
    predicted = random_forecast(0, priors, CLASSES)
    assert (PaaAssigner()(priors, box, torch.tensor([0]), predicted).matches == BACKGROUND).all()


def test_better_predictions_are_chosen():
    """Two equal priors per place, one predicts well: only its kind is positive."""
    priors, box = priors_of((64, 64), scales=(4.0, 4.0)), torch.tensor([[16.0, 16.0, 48.0, 48.0]])
    scores = torch.full((len(priors.boxes), 1), 0.05)
    scores[::2] = 0.9
    boxes = torch.where(torch.arange(len(scores))[:, None] % 2 == 0, box, priors.boxes)
    predicted = forecast_of(boxes, scores)
    rows = (PaaAssigner()(priors, box, torch.tensor([0]), predicted).matches == 0).nonzero()
    assert len(rows) > 0
    assert (rows % 2 == 0).all()


def test_certain_scores_stay_finite():
    priors, boxes = priors_of((64, 64)), random_boxes(0, 2, (64, 64))
    scores = torch.zeros(len(priors.boxes), CLASSES)
    scores[::2] = 1.0
    predicted = forecast_of(priors.boxes, scores)
    assert PaaAssigner()(priors, boxes, torch.tensor([0, 1]), predicted).matches.max() >= 0


def test_pieces_of_a_crowded_image_give_the_same_as_the_whole(monkeypatch):
    priors, boxes = priors_of(SIZE), random_boxes(3, 300, SIZE)
    labels, predicted = torch.arange(300) % CLASSES, random_forecast(3, priors, CLASSES)
    whole = PaaAssigner()(priors, boxes, labels, predicted).matches
    monkeypatch.setattr(base, "PAIRS_AT_ONCE", 1)
    monkeypatch.setattr(forecast, "SCORES_AT_ONCE", 17)
    assert torch.equal(PaaAssigner()(priors, boxes, labels, predicted).matches, whole)


def test_ranks_count_within_a_group():
    values = torch.tensor([3.0, 1.0, 2.0, 1.0, 0.0])
    groups = torch.tensor([7, 7, 2, 7, 2])
    assert rank_in_group(values, groups).tolist() == [2, 0, 1, 1, 0]
