"""Activations that are made again are the same, and leave nothing behind."""

import copy

import pytest
import torch
from torch import nn

from dense_lt.engine.recomputation import recompute_activations
from dense_lt.models.backbone import Backbone
from dense_lt.models.csp_darknet import CspDarknet
from dense_lt.utils.errors import ConfigError


def _detector(backbone):
    detector = nn.Module()
    detector.pyramid = nn.Module()
    detector.pyramid.backbone = backbone
    return detector


def _make(name, **options):
    torch.manual_seed(0)
    backbone = Backbone(name, levels=(3, 4), options=options)
    return _detector(backbone).double().train()


def _train(detector, steps=2):
    """Maps, gradients and buffers after some forward and backward passes, with seeded chance."""
    torch.manual_seed(1)
    backbone = detector.pyramid.backbone
    for _ in range(steps):
        maps = backbone(torch.randn(2, 3, 64, 64, dtype=torch.float64))
        sum(x.square().mean() for x in maps).backward()
    gradients = {name: p.grad for name, p in detector.named_parameters() if p.grad is not None}
    buffers = dict(detector.named_buffers())
    return {"maps": maps, "gradients": gradients, "buffers": buffers, "next": torch.rand(1)}


@pytest.mark.parametrize(
    ("name", "options", "block"),
    [
        ("test_resnet", {"drop_path_rate": 0.5}, "body.layer1.0"),
        ("test_convnext", {"drop_path_rate": 0.5}, "body.stages_0.blocks.0"),
        ("test_efficientnet", {"drop_path_rate": 0.5}, "body.blocks.0.0"),
    ],
)
def test_gradients_running_averages_and_chance_are_as_without_it(name, options, block):
    """In float64, with stochastic depth: equal bit for bit."""
    plain = _make(name, **options)
    other = copy.deepcopy(plain)
    assert block in recompute_activations(other)
    wanted, found = _train(plain), _train(other)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert found["gradients"].keys() == wanted["gradients"].keys()


def test_running_averages_move_once_a_step():
    """Guards the test above: there is batch normalisation, and it counts its steps."""
    detector = _make("test_resnet")
    recompute_activations(detector)
    counts = {
        int(b) for n, b in _train(detector, steps=3)["buffers"].items() if n.endswith("_tracked")
    }
    assert counts == {3}


def test_frozen_stages_stay_frozen():
    torch.manual_seed(0)
    backbone = Backbone("test_resnet", levels=(3, 4), frozen_stages=2)
    plain = _detector(backbone).double().train()
    other = copy.deepcopy(plain)
    recompute_activations(other)
    torch.testing.assert_close(_train(other), _train(plain), rtol=0, atol=0)


def test_the_darknet_of_yolox_has_blocks_too():
    torch.manual_seed(0)
    plain = CspDarknet("csp_darknet_s", options={"width": 0.0625, "depth": 0.1})
    plain = _detector(plain).double().train()
    other = copy.deepcopy(plain)
    assert {"stages.0.1", "stages.3.2"} <= set(recompute_activations(other))
    torch.testing.assert_close(_train(other), _train(plain), rtol=1e-12, atol=1e-12)


def test_less_is_kept_for_the_backward_pass():
    def kept(detector):
        tensors = {}

        def pack(tensor):
            tensors[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            detector.pyramid.backbone(torch.zeros(2, 3, 64, 64, dtype=torch.float64))
        return sum(tensors.values())

    plain = _make("test_resnet")
    other = copy.deepcopy(plain)
    recompute_activations(other)
    assert kept(other) < 0.65 * kept(plain)  # of small images the stem is much


def test_evaluation_runs_every_block_once_and_plainly():
    detector = _make("test_resnet")
    recompute_activations(detector)
    maps = detector.eval().pyramid.backbone(torch.zeros(1, 3, 64, 64, dtype=torch.float64))
    assert maps[0].grad_fn is not None


def test_a_backbone_without_blocks_is_refused():
    with pytest.raises(ConfigError, match=r"activation_checkpointing: true, but .* no numbered"):
        recompute_activations(_detector(nn.Sequential(nn.Conv2d(3, 4, 3))))
