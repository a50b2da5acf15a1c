import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from dense_lt.ops import selection
from dense_lt.ops.selection import class_wise_nms, top_entries, vote


def greedy_nms(boxes, scores, labels, threshold):
    """The definition: best first, drop what overlaps a kept box of the same class."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i].item(), i))
    overlap = box_iou(boxes.double(), boxes.double())
    kept = []
    for i in order:
        if all(labels[i] != labels[j] or overlap[i, j] <= threshold for j in kept):
            kept.append(i)
    return kept


def random_problem(seed, count, classes):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 4, generator=generator) * 60
    boxes[:, 2:] += boxes[:, :2] + 1
    scores = torch.randint(0, 20, (count,), generator=generator) / 20  # many ties
    labels = torch.randint(0, classes, (count,), generator=generator)
    return boxes, scores, labels


@given(seed=st.integers(0, 10_000), count=st.integers(0, 60), classes=st.integers(1, 5))
def test_suppression_equals_the_greedy_definition(seed, count, classes):
    boxes, scores, labels = random_problem(seed, count, classes)
    kept = class_wise_nms(boxes, scores, labels, iou_threshold=0.5, max_kept=1000)
    assert kept.tolist() == greedy_nms(boxes, scores, labels, 0.5)


def test_growing_prefixes_give_the_same_as_all_at_once(monkeypatch):
    boxes, scores, labels = random_problem(1, 400, 3)
    expected = class_wise_nms(boxes, scores, labels, iou_threshold=0.3, max_kept=50)
    monkeypatch.setattr("dense_lt.ops.selection.FIRST_PREFIX", 8)
    kept = class_wise_nms(boxes, scores, labels, iou_threshold=0.3, max_kept=50)
    assert kept.tolist() == expected.tolist()


@pytest.mark.parametrize("label", [0, 600, 1202])
def test_suppression_does_not_depend_on_the_class_number(label):
    """4096 px * 1202 in float32 leaves a grid of half a pixel; these boxes differ by less."""
    boxes = torch.tensor([[1000.0, 1000.0, 1003.0, 1003.0], [1000.3, 1000.0, 1003.3, 1003.0]])
    boxes = torch.cat([boxes, torch.tensor([[0.0, 0.0, 4000.0, 4000.0]])])
    scores = torch.tensor([0.9, 0.8, 0.1])
    labels = torch.tensor([label, label, 0])
    iou = box_iou(boxes[:1], boxes[1:2]).item()  # 2.7 / 3.3
    below = class_wise_nms(boxes, scores, labels, iou_threshold=iou - 0.001, max_kept=9)
    above = class_wise_nms(boxes, scores, labels, iou_threshold=iou + 0.001, max_kept=9)
    assert below.tolist() == [0, 2]
    assert above.tolist() == [0, 1, 2]


def test_top_entries_are_the_best_above_the_threshold():
    scores = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.5, 0.3]])
    values, rows, columns = top_entries(scores, count=3, threshold=0.5)
    assert values.tolist() == pytest.approx([0.9, 0.8])
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])


def test_more_asked_for_than_there_are_gives_all():
    values, _, _ = top_entries(torch.rand(2, 3), count=100, threshold=0.0)
    assert len(values) == 6


@pytest.mark.parametrize("at_once", [1, 7, 50])
def test_long_prefixes_are_cut_between_classes_without_a_difference(at_once, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(200, 2, generator=generator) * 20
    boxes = torch.cat([corner, corner + 5 + torch.rand(200, 2, generator=generator) * 20], dim=1)
    scores = torch.rand(200, generator=generator).mul(20).round()  # many are equal
    labels = torch.randint(2, 9, (200,), generator=generator)
    limits = {"iou_threshold": 0.3, "max_kept": 100}
    whole = class_wise_nms(boxes, scores, labels, **limits)
    monkeypatch.setattr(selection, "BOXES_AT_ONCE", at_once)
    assert torch.equal(class_wise_nms(boxes, scores, labels, **limits), whole)


def test_boxes_move_to_where_their_class_votes_by_hand():
    """IoU 1/2 with a score of 1/2: weight e^(-1/4 / 1/4) / 2 = 0.1839 beside 1 for the box itself.

    The third box is of another class, the fourth does not overlap.
    """
    boxes = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 5], [0.0, 0, 10, 5], [20.0, 0, 30, 10]])
    scores, labels = torch.tensor([1.0, 0.5, 0.9, 0.9]), torch.tensor([0, 0, 1, 0])
    moved = vote(boxes, scores, labels, kept=torch.tensor([0, 3]), variance=0.25)
    weight = math.exp(-1) / 2
    expected = [0, 0, 10, (10 + 5 * weight) / (1 + weight)]
    assert moved[0].tolist() == pytest.approx(expected, rel=1e-5)
    assert moved[1].tolist() == [20, 0, 30, 10]


def test_votes_in_pieces_are_the_same_and_a_score_of_zero_keeps_its_box(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(60, 2, generator=generator) * 30
    boxes = torch.cat([corner, corner + 5 + torch.rand(60, 2, generator=generator) * 20], dim=1)
    scores, labels = torch.rand(60, generator=generator), torch.arange(60) % 3
    kept = scores.argsort(descending=True)[:25]
    whole = vote(boxes, scores, labels, kept=kept, variance=0.025)
    monkeypatch.setattr(selection, "PAIRS_AT_ONCE", 100)
    torch.testing.assert_close(vote(boxes, scores, labels, kept=kept, variance=0.025), whole)
    alone = vote(boxes, torch.zeros(60), torch.arange(60), kept=kept, variance=0.025)
    torch.testing.assert_close(alone, boxes[kept])
    assert len(vote(boxes[:0], scores[:0], labels[:0], kept=kept[:0], variance=0.025)) == 0
