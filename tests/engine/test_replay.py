"""The first bad number is found where it is made."""

import math

import pytest
import torch

from dense_lt.engine.replay import replay


def _lines(detector, batch, **options):
    found = replay(detector, batch, **options)
    return found, "\n".join(found.lines())


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_a_step_that_is_well_says_so(tiny_detector, make_batch, micro_batches):
    found, text = _lines(tiny_detector(), make_batch(2, 0), micro_batches=micro_batches)
    assert found.is_finite
    assert "weights: all 8 finite" in text
    assert f"forward: all {5 * micro_batches} finite" in text
    assert "backward: all" in text
    assert "losses: classification" in text
    assert "largest gradients: " in text


def test_a_weight_that_is_no_number_is_named_and_what_it_spoils(tiny_detector, make_batch):
    detector = tiny_detector()
    with torch.no_grad():
        detector.sizes.weight[0, 0] = math.nan
    found, text = _lines(detector, make_batch(2, 0, objects=(1, 2)))
    assert not found.is_finite
    assert "weights: sizes.weight is nan, the first of 1 in 8" in text
    assert "forward: sizes (Conv2d) returns nan, the first of 1 in 5" in text
    assert "box nan" in text


def test_a_gradient_alone_can_be_bad(tiny_detector, make_batch):
    """The root has a slope without bound at zero."""
    detector = tiny_detector()
    forward = detector.forward

    def rooted(*arguments, **options):
        losses = forward(*arguments, **options)
        return {**losses, "root": (detector.sizes.bias * 0).abs().sqrt().sum()}

    detector.forward = rooted
    found, text = _lines(detector, make_batch(2, 0))
    assert not found.is_finite
    assert all(map(math.isfinite, found.losses.values()))
    assert "forward: all 5 finite" in text
    assert "backward: sizes.bias gets nan, the first of 1 in" in text
