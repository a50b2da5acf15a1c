"""Classifiers with a learnt scale, or with weights divided by their norms."""

import pytest
import torch
from helpers.tiny_two_stage import build
from torch.nn import functional

from dense_lt.balance.modulation import EqualizedFocal
from dense_lt.balance.statistics import GradientStatistics
from dense_lt.losses.classification import SigmoidLoss
from dense_lt.models.rescaled import RescaledConv2d, RescaledLinear, Rescaling
from dense_lt.utils.errors import ConfigError


def test_a_learnt_scale_multiplies_weights_and_not_biases():
    classifier = RescaledLinear(6, Rescaling(3, 4, learnt=True))
    features = torch.randn(5, 6)
    torch.testing.assert_close(
        classifier(features), functional.linear(features, classifier.weight, classifier.bias)
    )
    with torch.no_grad():
        classifier.scale.copy_(torch.tensor([1.0, 2.0, 0.5, 3.0]))
    expected = features @ classifier.weight.T * classifier.scale + classifier.bias
    torch.testing.assert_close(classifier(features), expected)


def test_tau_divides_by_norms_in_evaluation_and_leaves_background_alone():
    classifier = RescaledLinear(6, Rescaling(3, 4, tau=0.5))
    features = torch.randn(5, 6)
    trained = functional.linear(features, classifier.weight, classifier.bias)
    torch.testing.assert_close(classifier(features), trained)
    norms = classifier.weight[:3].norm(dim=1)
    relative = norms / norms.prod() ** (1 / 3)
    factor = torch.cat([relative**-0.5, torch.ones(1)])
    expected = (trained - classifier.bias) * factor + classifier.bias
    torch.testing.assert_close(classifier.eval()(features), expected)


def test_tau_of_one_makes_all_norms_equal_to_their_geometric_mean():
    classifier = RescaledLinear(6, Rescaling(3, 3, tau=1.0)).eval()
    mean = classifier.weight.norm(dim=1).log().mean().exp()
    torch.testing.assert_close(classifier.effective_weight().norm(dim=1), mean.expand(3))


def test_the_priors_of_a_convolution_share_factors_and_norms():
    classifier = RescaledConv2d(2, 6, 3, Rescaling(2, 3, learnt=True, tau=1.0))  # two priors
    with torch.no_grad():
        classifier.scale.copy_(torch.tensor([2.0, 1.0, 5.0]))
    scaled = classifier.weight * classifier.scale.repeat(2).view(-1, 1, 1, 1)
    torch.testing.assert_close(classifier.effective_weight(), scaled)
    maps = torch.randn(1, 2, 5, 5)
    expected = functional.conv2d(maps, scaled, classifier.bias, padding=1)
    torch.testing.assert_close(classifier(maps), expected)
    rows = classifier.eval().effective_weight().unflatten(0, (2, 3))
    norms = rows.square().sum(dim=(0, 2, 3, 4)).sqrt()
    torch.testing.assert_close(norms[0], norms[1])
    torch.testing.assert_close(rows[:, 2], scaled.unflatten(0, (2, 3))[:, 2])


def test_the_fused_loss_trains_the_scale_like_the_plain_one():
    torch.manual_seed(0)
    classifier = RescaledConv2d(4, 6, 1, Rescaling(3, 3, learnt=True)).double()
    with torch.no_grad():
        classifier.scale.copy_(torch.tensor([0.5, 1.0, 2.0]))
    maps, labels = torch.randn(2, 4, 3, 3, dtype=torch.float64), torch.randint(-1, 3, (36,))
    one = torch.ones((), dtype=torch.float64)
    loss = SigmoidLoss(EqualizedFocal(), GradientStatistics(3))
    logits = classifier(maps).permute(0, 2, 3, 1).reshape(-1, 3)
    values = loss(logits, labels, one), loss.fused([maps], [classifier], [labels], one)
    plain, fused = (torch.autograd.grad(value, list(classifier.parameters())) for value in values)
    assert len(plain) == 3
    for found, expected in zip(fused, plain, strict=True):
        torch.testing.assert_close(found, expected)


def test_a_detector_starts_as_if_there_were_no_scale_and_keeps_its_names():
    plain, scaled = build(), build(head={"classifier": "scaled"})
    more = set(scaled.state_dict()) - set(plain.state_dict())
    assert more == {"head.classifier.scale"}
    assert scaled.head.classifier.scale.tolist() == [1] * 5


@pytest.mark.parametrize("loss", [{"kind": "bags"}, {"kind": "eql_v2", "classifier": "2c_softmax"}])
def test_tau_needs_a_logit_for_each_class(loss):
    with pytest.raises(ConfigError, match=r"model\.head\.tau is 0\.5"):
        build(head={"tau": 0.5}, loss=loss)


def test_tau_and_a_normalized_classifier_exclude_each_other():
    with pytest.raises(ValueError, match="`normalized` classifier ignores the norm"):
        build(head={"tau": 0.5, "classifier": "normalized"})
