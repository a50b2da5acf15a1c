import math

import pytest
import torch
from helpers.assignment import STRIDES, priors_of, random_boxes
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.models.assigners import base
from dense_lt.models.assigners.center import CenterAssigner
from dense_lt.ops.matching import BACKGROUND

SIZE = (96, 128)


def points_of(size):
    return priors_of(size, scales=(1.0,))


def brute_force(size, boxes, radius, limits):
    """Point by point and object by object, with the points from their definition."""
    matches = []
    for level, stride in enumerate(STRIDES):
        lower, upper = ([0, *limits][level], [*limits, math.inf][level])
        for row in range(-(-size[0] // stride)):
            for column in range(-(-size[1] // stride)):
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                best, match = math.inf, BACKGROUND
                for g, (left, top, right, bottom) in enumerate(boxes.tolist()):
                    sides = (x - left, y - top, right - x, bottom - y)
                    away = max(abs(x - (left + right) / 2), abs(y - (top + bottom) / 2))
                    area = (right - left) * (bottom - top)
                    near = radius is None or away < radius * stride
                    fits = lower <= max(sides) <= upper
                    if min(sides) > 0 and near and fits and area < best:
                        best, match = area, g
                matches.append(match)
    return matches


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 12),
    radius=st.sampled_from([None, 0.4, 1.5, 2.5]),
    limits=st.sampled_from([(64, 128), (16, 32), (20, 25)]),
)
def test_assignment_equals_the_rule_point_by_point(seed, count, radius, limits):
    boxes = random_boxes(seed, count, SIZE).round()  # exact in float32: borders are met as well
    assigner = CenterAssigner(radius=radius, size_limits=limits)
    assert assigner(points_of(SIZE), boxes).tolist() == brute_force(SIZE, boxes, radius, limits)


@pytest.mark.parametrize("size", [(64, 64), (8, 8), (1333, 128)])
def test_tiny_and_oblong_inputs(size):
    boxes = random_boxes(0, 5, size).round()
    expected = brute_force(size, boxes, 1.5, (64, 128))
    assert CenterAssigner()(points_of(size), boxes).tolist() == expected


def test_the_size_limits_are_eight_strides_unless_given():
    priors, boxes = points_of(SIZE), random_boxes(5, 12, SIZE)
    given = CenterAssigner(size_limits=[8 * stride for stride in STRIDES[:-1]])
    assert torch.equal(CenterAssigner()(priors, boxes), given(priors, boxes))


def test_the_whole_box_and_the_smallest_object_by_hand():
    """16x16 points of stride 8; the object in the upper left takes its four from the large one."""
    boxes = torch.tensor([[0.0, 0.0, 32.0, 32.0], [0.0, 0.0, 16.0, 16.0]])
    matches = CenterAssigner(radius=None)(points_of((32, 32)), boxes)
    assert matches[:16].view(4, 4).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0] * 4, [0] * 4]
    assert (matches[16:] == BACKGROUND).all()


def test_centre_sampling_by_hand():
    """Radius 8 pixels around (16, 16): points at 12 and 20 are 4 away, those at 4 and 28 are 12."""
    boxes = torch.tensor([[0.0, 0.0, 32.0, 32.0]])
    matches = CenterAssigner(radius=1.0)(points_of((32, 32)), boxes)
    expected = [[-1] * 4, [-1, 0, 0, -1], [-1, 0, 0, -1], [-1] * 4]
    assert matches[:16].view(4, 4).tolist() == expected


def test_equal_objects_go_to_the_first():
    box = torch.tensor([[16.0, 16.0, 48.0, 48.0]])
    matches = CenterAssigner()(points_of((64, 64)), torch.cat([box, box]))
    assert set(matches.unique().tolist()) == {BACKGROUND, 0}


def test_no_object_leaves_background():
    matches = CenterAssigner()(points_of((64, 64)), torch.zeros(0, 4))
    assert (matches == BACKGROUND).all()
    assert matches.dtype == torch.int64


@pytest.mark.parametrize(
    "box", [[900.0, 900.0, 910.0, 910.0], [5.0, 5.0, 7.0, 7.0]], ids=["outside", "between points"]
)
def test_an_object_without_a_point_claims_nothing(box):
    assert (CenterAssigner()(points_of((64, 64)), torch.tensor([box])) == BACKGROUND).all()


def test_pieces_of_a_crowded_image_give_the_same_as_the_whole(monkeypatch):
    priors, boxes = points_of(SIZE), random_boxes(3, 1000, SIZE)
    boxes = torch.cat([boxes, boxes[:40]])  # equal objects far apart
    whole = CenterAssigner()(priors, boxes)
    for pairs in (1, 7 * len(priors.boxes)):
        monkeypatch.setattr(base, "PAIRS_AT_ONCE", pairs)
        assert torch.equal(CenterAssigner()(priors, boxes), whole)
