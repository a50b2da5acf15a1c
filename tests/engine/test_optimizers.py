"""Who decays, who does not, and how the learning rate is scaled."""

import pytest
import torch
from torch import nn

from dense_lt.engine.optimizers import (
    layer_numbers,
    parameter_groups,
    scaled_learning_rate,
    set_learning_rate,
)
from dense_lt.utils.errors import ConfigError


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


def test_the_bias_of_a_classifier_decays_alone_when_asked():
    """As YOLOX-IP does: its bias of `classifier`, not those of norms and other convolutions."""
    model = nn.ModuleDict({"head": _Model(), "classifier": nn.Conv2d(4, 2, 1)})
    decayed, undecayed = parameter_groups(
        model, weight_decay=0.1, decay_norm_and_bias=False, decay_classifier_bias=True
    )
    expected = {"head.convolution.weight", "classifier.weight", "classifier.bias"}
    assert _names(model, decayed["params"]) == expected
    assert "head.convolution.bias" in _names(model, undecayed["params"])


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


def test_patterns_change_the_learning_rate_and_the_last_one_counts():
    model = _Model()
    groups = parameter_groups(
        model,
        weight_decay=0.1,
        decay_norm_and_bias=False,
        lr_factors={"convolution.*": 0.1, "*.bias": 2.0},
    )
    found = {
        (group["factor"], group["weight_decay"]): _names(model, group["params"]) for group in groups
    }
    assert found == {
        (2.0, 0.0): {"convolution.bias", "norm.bias"},
        (1.0, 0.0): {"norm.weight", "scale"},
        (0.1, 0.1): {"convolution.weight"},
    }
    assert [group["factor"] for group in groups] == [2.0, 1.0, 0.1]


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"optimizer\.lr_factors: 'convolutoin\.\*'"):
        parameter_groups(
            _Model(), weight_decay=0, decay_norm_and_bias=True, lr_factors={"convolutoin.*": 1.0}
        )


def test_layers_of_the_backbone_learn_the_slower_the_earlier_they_are():
    """Blocks 1 and 2 after the stem: the decay once for the last, 3 times for the stem."""
    model = nn.Module()
    model.pyramid = nn.Module()
    model.pyramid.backbone = nn.Module()
    body = model.pyramid.backbone.body = nn.Module()
    body.stem = nn.Linear(2, 2, bias=False)
    body.blocks = nn.ModuleList([nn.Linear(2, 2, bias=False) for _ in range(2)])
    model.head = nn.Linear(2, 2, bias=False)
    groups = parameter_groups(model, weight_decay=0, decay_norm_and_bias=True, layer_decay=0.5)
    found = {group["factor"]: _names(model, group["params"]) for group in groups}
    assert found == {
        1.0: {"head.weight"},
        0.5: {"pyramid.backbone.body.blocks.1.weight"},
        0.25: {"pyramid.backbone.body.blocks.0.weight"},
        0.125: {"pyramid.backbone.body.stem.weight"},
    }


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["conv1.weight", "layer1.0.conv1.weight", "layer2.0.bn1.bias"], [0, 1, 2]),
        (["stem_0.weight", "stages_0.blocks.0.gamma", "stages_0.blocks.1.gamma"], [0, 1, 2]),
        (["patch_embed.proj.weight", "layers_0.blocks.0.norm1.weight", "norm.weight"], [0, 1, 1]),
        (["model.cls_token", "model.blocks.0.norm1.bias", "model.blocks.11.attn.bias"], [0, 1, 2]),
    ],
)
def test_layers_are_numbered_in_the_models_of_timm(names, numbers):
    assert list(layer_numbers(names).values()) == numbers
