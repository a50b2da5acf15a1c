"""Who decays, who does not, and how the learning rate is scaled."""

import pytest
import torch
from torch import nn

from dense_lt.engine.optimizers import parameter_groups, scaled_learning_rate, set_learning_rate


class _Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.GroupNorm(2, 4)
        self.scale = nn.Parameter(torch.ones(()))
        self.frozen = nn.Linear(2, 2).requires_grad_(requires_grad=False)


def _names(model, parameters):
    return {name for name, own in model.named_parameters() if any(own is p for p in parameters)}


def test_only_weights_with_two_axes_decay():
    model = _Model()
    decayed, undecayed = parameter_groups(model, weight_decay=0.1, decay_norm_and_bias=False)
    assert (decayed["weight_decay"], undecayed["weight_decay"]) == (0.1, 0.0)
    assert _names(model, decayed["params"]) == {"convolution.weight"}
    expected = {"convolution.bias", "norm.weight", "norm.bias", "scale"}
    assert _names(model, undecayed["params"]) == expected


def test_everything_that_trains_decays_when_asked():
    model = _Model()
    (group,) = parameter_groups(model, weight_decay=0.1, decay_norm_and_bias=True)
    assert len(group["params"]) == 5


def test_learning_rate_is_proportional_to_the_batch():
    """0.02 for 16 images is 0.0025 for 2."""
    assert scaled_learning_rate(0.02, batch_size=2, base_batch_size=16) == pytest.approx(0.0025)


def test_setting_the_learning_rate_starts_from_the_initial_one_every_time():
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.4)
    optimizer.param_groups[0]["initial_lr"] = 0.4
    assert set_learning_rate(optimizer, 0.5) == pytest.approx(0.2)
    assert set_learning_rate(optimizer, 0.5) == pytest.approx(0.2)
