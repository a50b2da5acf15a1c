import pytest
import torch
from torch.nn import functional

from dense_lt.balance.statistics import GradientStatistics
from dense_lt.losses.regions.group_softmax import GroupSoftmaxLoss
from dense_lt.ops.matching import BACKGROUND

COUNTS = (9, 10, 11, 5000, 100)  # groups: [0], [1, 2], [4], [3]
ONE = torch.tensor(1.0, dtype=torch.float64)


def make(**settings):
    return GroupSoftmaxLoss(GradientStatistics(5), COUNTS, **settings)


def test_groups_begin_at_their_boundary_and_empty_ones_have_no_logits():
    loss = make()
    assert loss.groups == [[0], [1, 2], [4], [3]]
    assert loss.num_logits == 5 + 4 + 2
    assert GroupSoftmaxLoss(GradientStatistics(2), (3, 4)).num_logits == 2 + 1 + 2


def test_each_group_sees_its_own_regions_and_all_others_when_there_are_few():
    loss = make(others=100)
    torch.manual_seed(0)
    logits = torch.randn(6, 11, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1, 2, 0, BACKGROUND, BACKGROUND, 3])
    value = loss(logits, labels, ONE * 6)
    targets = [
        torch.tensor([0, 0, 1, 0, 0, 0]),
        torch.tensor([1, 2, 0, 0, 0, 0]),
        None,  # no region of class 4: the group learns nothing
        torch.tensor([0, 0, 0, 0, 0, 1]),
    ]
    pieces = logits.split([2, 3, 2, 2, 2], dim=1)
    expected = functional.cross_entropy(pieces[-1], torch.tensor([0, 0, 0, 1, 1, 0]))
    for piece, target in zip(pieces, targets, strict=False):
        if target is not None:
            expected = expected + functional.cross_entropy(piece, target)
    assert value.item() == pytest.approx(expected.item())
    found, wanted = (torch.autograd.grad(v, logits)[0] for v in (value, expected))
    torch.testing.assert_close(found, wanted)


def test_a_group_sees_so_many_others_for_each_of_its_own():
    loss = make(others=2)
    torch.manual_seed(0)
    logits = torch.randn(50, 11, dtype=torch.float64, requires_grad=True)
    labels = torch.full((50,), BACKGROUND)
    labels[:3] = torch.tensor([1, 2, 2])
    (gradient,) = torch.autograd.grad(loss(logits, labels, ONE * 50), logits)
    rows = gradient[:, 2:5].abs().sum(1) > 0
    assert rows[:3].all()
    assert int(rows.sum()) == 3 + 6
    assert (gradient[:, 9:].abs().sum(1) > 0).all()  # object or background: all regions


def test_a_score_is_that_in_the_group_times_that_of_object():
    loss = make()
    logits = torch.arange(11.0)[None] / 4
    scores = loss.scores(logits)
    pieces = logits.split([2, 3, 2, 2, 2], dim=1)
    is_object = pieces[-1].softmax(1)[0, 0]
    assert scores[0, 2].item() == pytest.approx((pieces[1].softmax(1)[0, 2] * is_object).item())
    assert scores[0, 3].item() == pytest.approx((pieces[3].softmax(1)[0, 1] * is_object).item())


def test_it_notes_the_gradient_of_each_class_in_its_group():
    loss = make(others=100)
    torch.manual_seed(1)
    logits = torch.randn(4, 11, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1, 2, BACKGROUND, BACKGROUND])
    loss(logits, labels, ONE * 4)
    p = logits[:, 2:5].softmax(1)
    pending = loss.statistics.pending()
    assert pending[0, 1].item() == pytest.approx((1 - p[0, 1]).item())
    assert pending[1, 1].item() == pytest.approx((p[1, 1] + p[2, 1] + p[3, 1]).item())
    assert not pending[:, [0, 3, 4]].any()
