import pytest
import torch
from helpers.assignment import priors_of, random_boxes
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from dense_lt.models.assigners import atss
from dense_lt.models.assigners.atss import AtssAssigner
from dense_lt.ops.matching import BACKGROUND


def brute_force(priors, boxes, top_k):
    """Algorithm 1 of Zhang et al. 2020, object by object, from the full IoU matrix."""
    iou = box_iou(priors.boxes, boxes)
    points = (priors.boxes[:, :2] + priors.boxes[:, 2:]) / 2
    matches, best = [BACKGROUND] * len(points), [-1.0] * len(points)
    for g, box in enumerate(boxes):
        center = (box[:2] + box[2:]) / 2
        distance = ((points - center) ** 2).sum(1).sqrt()
        candidates, start = [], 0
        for count in priors.counts:
            nearest = distance[start : start + count].topk(min(top_k, count), largest=False)
            candidates += (nearest.indices + start).tolist()
            start += count
        values = iou[candidates, g]
        threshold = values.mean() + values.std()
        for r in candidates:
            x, y = points[r].tolist()
            left, top, right, bottom = box.tolist()
            inside = min(x - left, y - top, right - x, bottom - y) > 0.01
            if iou[r, g] >= threshold and inside and iou[r, g] > best[r]:
                matches[r], best[r] = g, iou[r, g].item()
    return matches


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 12),
    top_k=st.sampled_from([1, 3, 9, 18]),
    anchors=st.sampled_from([1, 2]),
)
def test_assignment_equals_the_algorithm_object_by_object(seed, count, top_k, anchors):
    size = (96, 128)
    priors, boxes = priors_of(size, scales=(4.0, 6.0)[:anchors]), random_boxes(seed, count, size)
    assert AtssAssigner(top_k)(priors, boxes).tolist() == brute_force(priors, boxes, top_k)


@pytest.mark.parametrize("seed", range(6))
def test_legacy_coordinates_equal_the_arithmetic_of_inclusive_pixels(seed):
    """Boxes end with their last pixel, widths are x2 - x1 + 1, as in the authors' code of EFL."""
    size, last = (96, 128), torch.tensor([0.0, 0.0, 1.0, 1.0])
    priors, boxes = priors_of(size, scales=(4.0, 6.0)), random_boxes(seed, 12, size).round()
    anchors, objects = priors.boxes - last, boxes - last

    def area(some):
        return (some[..., 2:] - some[..., :2] + 1).clamp(min=0).prod(-1)

    corners = [torch.maximum(anchors[:, None, :2], objects[:, :2])]
    corners.append(torch.minimum(anchors[:, None, 2:], objects[:, 2:]))
    shared = area(torch.cat(corners, dim=-1))
    iou = shared / (area(anchors)[:, None] + area(objects) - shared)
    points = (anchors[:, :2] + anchors[:, 2:]) / 2
    distance = torch.cdist(points, (objects[:, :2] + objects[:, 2:]) / 2)
    levels = [level.topk(18, dim=0, largest=False).indices for level in priors.split(distance)]
    starts = (0, priors.counts[0], sum(priors.counts[:2]))
    rows = torch.cat([level + start for level, start in zip(levels, starts, strict=True)])
    values = iou.gather(0, rows)
    sides = torch.cat([points[rows] - objects[:, :2], objects[:, 2:] - points[rows]], dim=-1)
    claims = (values >= values.mean(0) + values.std(0)) & (sides.amin(-1) > 0.01)
    best = torch.full_like(iou, -1).scatter(0, rows, torch.where(claims, values, -1.0))
    highest, expected = best.max(dim=1)
    expected[highest < 0] = BACKGROUND
    assert torch.equal(AtssAssigner(18, legacy=True)(priors, boxes), expected)


def test_a_centre_on_the_outermost_half_pixel_is_outside_in_legacy_coordinates():
    """The centre (20, 20) lies 0.4 pixels inside of a box that begins at 19.6."""
    priors, box = priors_of((64, 64)), torch.tensor([[19.6, 4.0, 36.0, 36.0]])
    first = 2 * 8 + 2  # x = y = 20 at stride 8
    assert AtssAssigner(64)(priors, box)[first] == 0
    assert AtssAssigner(64, legacy=True)(priors, box)[first] == BACKGROUND


@pytest.mark.parametrize("size", [(64, 64), (8, 8), (1333, 128)])
def test_small_and_oblong_inputs_have_fewer_priors_than_candidates(size):
    priors, boxes = priors_of(size), random_boxes(0, 3, size)
    assert AtssAssigner(18)(priors, boxes).tolist() == brute_force(priors, boxes, 18)


def test_no_object_leaves_background():
    matches = AtssAssigner()(priors_of((64, 64)), torch.zeros(0, 4))
    assert (matches == BACKGROUND).all()
    assert matches.dtype == torch.int64


def test_an_object_far_from_every_prior_claims_nothing():
    matches = AtssAssigner()(priors_of((64, 64)), torch.tensor([[900.0, 900.0, 910.0, 910.0]]))
    assert (matches == BACKGROUND).all()


def test_equal_claims_go_to_the_first_object():
    box = torch.tensor([[16.0, 16.0, 48.0, 48.0]])
    matches = AtssAssigner()(priors_of((64, 64)), torch.cat([box, box]))
    assert set(matches.unique().tolist()) == {BACKGROUND, 0}


def test_pieces_of_a_crowded_image_give_the_same_as_the_whole(monkeypatch):
    priors, boxes = priors_of((96, 128)), random_boxes(3, 40, (96, 128))
    whole = AtssAssigner()(priors, boxes)
    monkeypatch.setattr(atss, "OBJECTS_AT_ONCE", 7)
    assert torch.equal(AtssAssigner()(priors, boxes), whole)
