import math

import pytest
import torch
from helpers.assignment import STRIDES, forecast_of, priors_of, random_boxes, random_forecast
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from dense_lt.models.assigners import base, forecast
from dense_lt.models.assigners.simota import SimOtaAssigner
from dense_lt.ops.matching import BACKGROUND

CLASSES = 5
SIZE = (96, 128)


def entropy(row, label, predicted):
    """Cross-entropy of all classes of the root of score times quality."""
    cost = 0.0
    for j, score in enumerate(predicted.scores(torch.tensor([row]))[0].tolist()):
        root = math.sqrt(score * predicted.quality[row].item())
        value = root if j == label else 1 - root
        cost -= max(math.log(value), -100) if value > 0 else -100
    return cost


def all_costs(priors, boxes, labels, predicted, radius):
    """Cost of every candidate for every object, and the IoUs."""
    strides = [s for s, n in zip(STRIDES, priors.counts, strict=True) for _ in range(n)]
    overlaps = box_iou(predicted.boxes, boxes)
    costs = {}
    for r, prior in enumerate(priors.boxes.tolist()):
        x, y = (prior[0] + prior[2]) / 2, (prior[1] + prior[3]) / 2
        places = []
        for left, top, right, bottom in boxes.tolist():
            inside = min(x - left, y - top, right - x, bottom - y) > 0
            away = max(abs(x - (left + right) / 2), abs(y - (top + bottom) / 2))
            places.append((inside, away < radius * strides[r]))
        if any(inside or near for inside, near in places):
            for g, place in enumerate(places):
                cost = entropy(r, int(labels[g]), predicted) - 3 * math.log(overlaps[r, g] + 1e-8)
                costs[r, g] = cost + (0 if all(place) else 1e5)
    return costs, overlaps


def brute_force(priors, boxes, labels, predicted, radius, top_k):
    """Prior by prior and object by object, as the code of YOLOX describes it."""
    matches = [BACKGROUND] * len(priors.boxes)
    costs, overlaps = all_costs(priors, boxes, labels, predicted, radius)
    candidates = sorted({r for r, _ in costs})
    claims = {}
    for g in range(len(boxes) if candidates else 0):
        best = sorted((overlaps[r, g].item() for r in candidates), reverse=True)[:top_k]
        wanted = max(int(sum(best)), 1)
        for r in sorted(candidates, key=lambda r, g=g: costs[r, g])[:wanted]:
            claims.setdefault(r, []).append(g)
    for r, objects in claims.items():
        several = range(len(boxes)) if len(objects) > 1 else objects
        matches[r] = min(several, key=lambda g, r=r: costs[r, g])
    return matches


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 8),
    radius=st.sampled_from([0.3, 2.5]),
    top_k=st.sampled_from([1, 10, 500]),
)
def test_assignment_equals_the_rule_pair_by_pair(seed, count, radius, top_k):
    priors, boxes = priors_of(SIZE, scales=(2.0,)), random_boxes(seed, count, SIZE)
    labels = torch.randint(0, CLASSES, (count,), generator=torch.Generator().manual_seed(seed))
    predicted = random_forecast(seed, priors, CLASSES)
    found = SimOtaAssigner(radius=radius, top_k=top_k)(priors, boxes, labels, predicted)
    expected = brute_force(priors, boxes, labels, predicted, radius, top_k)
    assert found.matches.tolist() == expected


@pytest.mark.parametrize("size", [(64, 64), (8, 8), (1333, 128)])
def test_small_and_oblong_inputs(size):
    priors, boxes = priors_of(size, scales=(2.0, 3.0)), random_boxes(1, 3, size)
    predicted, labels = random_forecast(1, priors, CLASSES), torch.tensor([0, 1, 4])
    found = SimOtaAssigner()(priors, boxes, labels, predicted).matches.tolist()
    assert found == brute_force(priors, boxes, labels, predicted, 2.5, 10)


def test_an_object_far_from_every_prior_claims_nothing():
    priors = priors_of((64, 64))
    box = torch.tensor([[900.0, 900.0, 910.0, 910.0]])
    predicted = random_forecast(0, priors, CLASSES)
    assert (SimOtaAssigner()(priors, box, torch.tensor([0]), predicted).matches == -1).all()


def test_certain_scores_stay_finite():
    priors, boxes = priors_of((64, 64)), random_boxes(0, 2, (64, 64))
    scores = torch.zeros(len(priors.boxes), CLASSES)
    scores[::2] = 1.0
    predicted = forecast_of(priors.boxes, scores)
    assert SimOtaAssigner()(priors, boxes, torch.tensor([0, 1]), predicted).matches.max() >= 0


def test_pieces_of_a_crowded_image_give_the_same_as_the_whole(monkeypatch):
    priors, boxes = priors_of(SIZE), random_boxes(3, 300, SIZE)
    labels, predicted = torch.arange(300) % CLASSES, random_forecast(3, priors, CLASSES)
    whole = SimOtaAssigner()(priors, boxes, labels, predicted).matches
    monkeypatch.setattr(base, "PAIRS_AT_ONCE", 700)
    monkeypatch.setattr(forecast, "SCORES_AT_ONCE", 17)
    assert torch.equal(SimOtaAssigner()(priors, boxes, labels, predicted).matches, whole)
