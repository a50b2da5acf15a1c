"""The closed forms against autograd through the definitions, and at the ends of the numbers."""

import pytest
import torch
from torch.nn import functional

from dense_lt.ops.sigmoid_loss.formulas import negative_terms, positive_terms, quality_terms

GAMMAS = [0.0, 0.5, 1.0, 2.0, 10.0]
EXTREMES = [0.0, 17.0, -17.0, 20.0, -20.0, 90.0, -90.0, 104.0, -104.0, 1e4, -1e4, 3e38, -3e38]


def by_definition(z, gamma, weight, target, quality=None):
    """Loss and autograd's gradient, written as in the papers."""
    z = z.clone().requires_grad_()
    q = z.sigmoid()
    if quality is None:
        p_t = q if target else 1 - q
        loss = weight * (1 - p_t) ** gamma * -p_t.log()
    else:
        entropy = functional.binary_cross_entropy_with_logits(z, quality, reduction="none")
        loss = weight * (q - quality).abs() ** gamma * entropy
    (gradient,) = torch.autograd.grad(loss.sum(), z)
    return loss.detach(), gradient


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("target", [0, 1])
def test_terms_equal_the_definition(gamma, target):
    z = torch.linspace(-12, 12, 97, dtype=torch.float64)
    g, weight = torch.tensor(gamma, dtype=z.dtype), torch.tensor(0.3, dtype=z.dtype)
    terms = (positive_terms if target else negative_terms)(z, g, weight)
    loss, gradient = by_definition(z, g, weight, target)
    torch.testing.assert_close(terms.loss, loss, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(terms.gradient, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("quality", [0.0, 0.3, 1.0])
def test_quality_terms_equal_the_definition(gamma, quality):
    z = torch.linspace(-9.03, 9, 97, dtype=torch.float64)
    y = torch.full_like(z, quality)
    g, weight = torch.tensor(gamma, dtype=z.dtype), torch.tensor(0.3, dtype=z.dtype)
    terms = quality_terms(z, y, g, weight)
    loss, gradient = by_definition(z, g, weight, 1, y)
    torch.testing.assert_close(terms.loss, loss, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(terms.gradient, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_terms_are_finite_everywhere_and_equal_float64(gamma):
    z = torch.tensor(EXTREMES)
    g, weight = torch.tensor(gamma), torch.tensor(0.25)
    half = torch.full_like(z, 0.5)
    for terms, exact in [
        (negative_terms(z, g, weight), negative_terms(z.double(), g.double(), weight.double())),
        (positive_terms(z, g, weight), positive_terms(z.double(), g.double(), weight.double())),
        (
            quality_terms(z, half, g, weight),
            quality_terms(z.double(), half.double(), g.double(), weight.double()),
        ),
    ]:
        for single, double in zip(terms, exact, strict=True):
            assert single.isfinite().all()
            torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_a_positive_at_its_quality_target_has_no_gradient(gamma):
    z = torch.linspace(-8, 0, 33)
    decay = (-z.abs()).exp()
    quality = decay * (1 / (1 + decay))  # sigmoid(z), rounded as the formula rounds it
    terms = quality_terms(z, quality, torch.tensor(gamma), torch.tensor(1.0))
    assert (terms.gradient == 0).all()
    assert (terms.loss == 0).all()


def test_signs_are_known_without_the_values():
    z = torch.linspace(-30, 30, 601)
    g, weight = torch.tensor(2.0), torch.tensor(1.0)
    assert (negative_terms(z, g, weight).gradient >= 0).all()
    assert (positive_terms(z, g, weight).gradient <= 0).all()


def test_easy_negatives_keep_their_relative_precision():
    z = torch.linspace(-20, 8, 1000)
    for gamma in (0.0, 2.0):
        g, one = torch.tensor(gamma), torch.tensor(1.0)
        exact = negative_terms(z.double(), g.double(), one.double()).gradient
        torch.testing.assert_close(
            negative_terms(z, g, one).gradient.double(), exact, rtol=2e-5, atol=0
        )
