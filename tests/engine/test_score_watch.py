"""Scores of positives and of the hardest negatives, from the logits that a loss gets anyway."""

import pytest
import torch
from torch import nn

from dense_lt.balance.modulation import ConstantFocal
from dense_lt.balance.statistics import GradientStatistics
from dense_lt.engine.score_watch import ScoreWatch, sums_of_scores
from dense_lt.losses.classification import SigmoidLoss
from dense_lt.losses.regions.sigmoid import PairedLoss, SigmoidRegionLoss
from dense_lt.losses.regions.softmax import SoftmaxLoss
from dense_lt.ops.matching import BACKGROUND, IGNORE

NORMALIZER = torch.tensor(1.0)


def focal(kind=SigmoidLoss):
    return kind(ConstantFocal(), GradientStatistics(3))


@pytest.fixture
def batch():
    """Scores (rows x classes) and labels on two levels; the last row is ignored."""
    scores = torch.tensor([[0.9, 0.2, 0.1], [0.5, 0.8, 0.3], [0.6, 0.1, 0.4], [0.99, 0.99, 0.99]])
    labels = torch.tensor([0, 1, BACKGROUND, IGNORE])
    logits = scores.logit()
    return (logits[:1], logits[1:]), (labels[:1], labels[1:])


def test_positives_and_hardest_negatives_are_those_of_a_table(batch, monkeypatch):
    """Class 0: positive 0.9, negatives 0.5 and 0.6; class 1: 0.8, 0.2 and 0.1; class 2: none."""
    expected = [[0.9, 0.8, 0], [1, 1, 0], [0.6, 0.2, 0.4], [1, 1, 1]]
    for at_once in (2**22, 3):
        monkeypatch.setattr("dense_lt.engine.score_watch.SCORES_AT_ONCE", at_once)
        found = sums_of_scores(focal(), *batch)
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_levels_without_rows_and_softmax_have_scores_too():
    loss = SoftmaxLoss(GradientStatistics(3))
    logits = torch.tensor([[2.0, 0.0, 0.0, 0.0]])
    found = sums_of_scores(loss, (logits[:0], logits), (torch.zeros(0).long(), torch.tensor([0])))
    own, other = logits.softmax(1)[0, :2].tolist()
    assert found[:3, 0].tolist() == pytest.approx([own, 1, 0])
    assert found[:3, 1].tolist() == pytest.approx([0, 0, other])


def test_groups_have_means_of_the_calls_that_were_asked_for(batch, categories):
    """Labels: frequent, common, rare. The second call is not looked at, the third has no object."""
    detector = nn.ModuleDict({"loss": (loss := focal())})
    watch = ScoreWatch(detector, categories)
    logits, labels = batch
    nothing = tuple(torch.full_like(own, BACKGROUND) for own in labels)
    for asked, targets in ((True, labels), (False, labels), (True, nothing)):
        if asked:
            watch.look_once()
        loss(logits, targets, NORMALIZER)
    found = watch.means()
    assert found == {
        "score/positive/frequent": pytest.approx(0.9),
        "score/positive/common": pytest.approx(0.8),
        "score/positive/rare": None,
        "score/hardest_negative/frequent": pytest.approx((0.6 + 0.99) / 2),
        "score/hardest_negative/common": pytest.approx((0.2 + 0.99) / 2),
        "score/hardest_negative/rare": pytest.approx((0.4 + 0.99) / 2),
    }
    assert watch.means() == {}
    assert not loss._forward_pre_hooks


def test_the_loss_and_its_gradient_do_not_notice(batch, categories):
    logits, labels = batch
    costs = []
    for watched in (False, True):
        detector = nn.ModuleDict({"loss": (loss := focal())})
        if watched:
            ScoreWatch(detector, categories).look_once()
        leaves = [level.clone().requires_grad_() for level in logits]
        cost = loss(tuple(leaves), labels, NORMALIZER)
        cost.backward()
        costs.append([cost.item(), *(leaf.grad.sum().item() for leaf in leaves)])
    assert costs[0] == costs[1]


def test_of_nested_losses_the_outer_one_is_looked_at_and_several_have_names(categories):
    stages = nn.ModuleDict({"a": PairedLoss(focal(SigmoidRegionLoss)), "b": focal()})
    watch = ScoreWatch(stages, categories)
    watch.look_once()
    stages["a"](torch.zeros(1, 6), torch.tensor([0]), NORMALIZER)
    stages["b"](torch.zeros(1, 3), torch.tensor([0]), NORMALIZER)
    found = watch.means()
    assert found["a/score/positive/frequent"] == found["b/score/positive/frequent"] == 0.5
    assert len(found) == 12
