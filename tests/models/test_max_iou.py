import pytest
import torch
from helpers.assignment import priors_of, random_boxes
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection import _utils as torchvision_detection
from torchvision.ops import box_iou

from dense_lt.models.assigners import base
from dense_lt.models.assigners.max_iou import MaxIoUAssigner
from dense_lt.ops.matching import BACKGROUND, IGNORE
from dense_lt.structures import Priors

SIZE = (96, 128)
NINE = {"scales": (4.0, 5.04, 6.35), "ratios": (0.5, 1.0, 2.0)}


def brute_force(priors, boxes, positive, background, low_quality):
    """Prior by prior, from the full IoU matrix."""
    iou = box_iou(priors.boxes, boxes)
    matches = []
    for row in iou:
        g = int(row.argmax())
        best_of_an_object = any(
            row[other] > 0 and row[other] == iou[:, other].max() for other in range(len(boxes))
        )
        if row[g] >= positive or (low_quality and best_of_an_object):
            matches.append(g)
        else:
            matches.append(BACKGROUND if row[g] < background else IGNORE)
    return matches


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 8),
    thresholds=st.sampled_from([(0.5, 0.4), (0.5, 0.5), (0.7, 0.3), (1.0, 0.0)]),
    low_quality=st.booleans(),
)
def test_assignment_equals_the_rule_prior_by_prior(seed, count, thresholds, low_quality):
    priors, boxes = priors_of(SIZE, scales=(2.0, 4.0)), random_boxes(seed, count, SIZE)
    positive, background = thresholds
    assigner = MaxIoUAssigner(
        positive_iou=positive, background_iou=background, low_quality=low_quality
    )
    expected = brute_force(priors, boxes, positive, background, low_quality)
    assert assigner(priors, boxes).tolist() == expected


@given(seed=st.integers(0, 10_000), count=st.integers(1, 30), low_quality=st.booleans())
def test_assignment_equals_torchvisions_matcher(seed, count, low_quality):
    """BACKGROUND and IGNORE have the same numbers there; the IoU of all pairs is its input."""
    priors, boxes = priors_of(SIZE, **NINE), random_boxes(seed, count, SIZE)
    iou = box_iou(boxes, priors.boxes)
    assert (iou.amax(dim=1) > 0).all()
    expected = torchvision_detection.Matcher(0.5, 0.4, low_quality)(iou)
    assert torch.equal(MaxIoUAssigner(low_quality=low_quality)(priors, boxes), expected)


def test_thresholds_by_hand():
    """Object 10x10; priors inside it with IoU 0.5, 0.49, 0.4, 0.39, as wide and less high."""
    heights = torch.tensor([5.0, 4.9, 4.0, 3.9])
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    rows = boxes.repeat(4, 1)
    rows[:, 3] = heights
    priors = Priors(rows, (4,), (8,))
    assert MaxIoUAssigner(low_quality=False)(priors, boxes).tolist() == [0, IGNORE, IGNORE, -1]
    lonely = Priors(rows[1:], (3,), (8,))
    assert MaxIoUAssigner()(lonely, boxes).tolist() == [0, IGNORE, BACKGROUND]


def test_all_best_priors_of_an_object_are_positive():
    """A 4x4 object in the corner of four 8x8 cells: IoU 4 / (64 + 16 - 4) with each of them."""
    cells = torch.tensor([[0.0, 0, 8, 8], [8.0, 0, 16, 8], [0.0, 8, 8, 16], [8.0, 8, 16, 16]])
    beside = torch.tensor([[16.0, 0, 24, 8]])
    priors = Priors(torch.cat([cells, beside]), (5,), (8,))
    matches = MaxIoUAssigner()(priors, torch.tensor([[6.0, 6.0, 10.0, 10.0]]))
    assert matches.tolist() == [0, 0, 0, 0, BACKGROUND]


def test_equal_overlaps_go_to_the_first_object():
    box = torch.tensor([[16.0, 16.0, 48.0, 48.0]])
    matches = MaxIoUAssigner()(priors_of((64, 64)), torch.cat([box, box]))
    assert matches.max() == 0


def test_no_object_leaves_background():
    matches = MaxIoUAssigner()(priors_of((64, 64)), torch.zeros(0, 4))
    assert (matches == BACKGROUND).all()
    assert matches.dtype == torch.int64


def test_an_object_outside_every_prior_claims_nothing():
    """Its highest IoU is 0, and so is that of every prior with it."""
    matches = MaxIoUAssigner()(priors_of((64, 64)), torch.tensor([[900.0, 900.0, 910.0, 910.0]]))
    assert (matches == BACKGROUND).all()


@pytest.mark.parametrize("size", [(64, 64), (8, 8), (1333, 128)])
def test_every_object_of_tiny_and_oblong_inputs_is_considered(size):
    priors, boxes = priors_of(size, **NINE), random_boxes(1, 3, size)
    assert MaxIoUAssigner()(priors, boxes).tolist() == brute_force(priors, boxes, 0.5, 0.4, True)


@pytest.mark.parametrize("low_quality", [False, True])
def test_pieces_of_a_crowded_image_give_the_same_as_the_whole(monkeypatch, low_quality):
    priors, boxes = priors_of(SIZE, **NINE), random_boxes(3, 1000, SIZE)
    boxes = torch.cat([boxes, boxes[:40]])  # equal objects far apart
    assigner = MaxIoUAssigner(low_quality=low_quality)
    whole = assigner(priors, boxes)
    for pairs in (1, 7 * len(priors.boxes)):
        monkeypatch.setattr(base, "PAIRS_AT_ONCE", pairs)
        assert torch.equal(assigner(priors, boxes), whole)
