"""Batch normalisation of which nothing changes, in one pass over the features."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers.norm_act import FrozenBatchNormAct2d, freeze_batch_norm_2d
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FrozenBatchNorm2d


class FrozenNorm(FrozenBatchNorm2d):
    """torchvision's frozen batch normalisation, with one temporary instead of two."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` (B, C, H, W) -> its channels, scaled and shifted, in the same type."""
        return _scaled(x, *_buffers(self))


class FrozenNormAct(FrozenBatchNormAct2d):
    """timm's frozen batch normalisation with its activation, likewise."""

    act: nn.Module
    drop: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """`x` (B, C, H, W) -> its channels, scaled, shifted and activated, in the same type."""
        return self.act(self.drop(_scaled(x, *_buffers(self))))


def freeze_norms(module: nn.Module) -> nn.Module:
    """`module` with frozen norms in the place of all batch normalisations, itself included."""
    return _one_pass(freeze_batch_norm_2d(module))


def _one_pass(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        setattr(module, name, _one_pass(child))
    if type(module) is FrozenBatchNorm2d:
        own: nn.Module = FrozenNorm(_buffers(module)[0].numel(), eps=module.eps)
    elif type(module) is FrozenBatchNormAct2d:
        mean, *_, eps = _buffers(module)
        own = FrozenNormAct(mean.numel(), eps=eps)
        own.drop, own.act = module.get_submodule("drop"), module.get_submodule("act")
    else:
        return module
    own.load_state_dict(module.state_dict())
    return own.to(_buffers(module)[0])


def _buffers(norm: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """Mean, variance, scale and shift (C,), and what is added to the variance."""
    return norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps


def _scaled(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    """Scale and shift. With nothing to learn, the backward pass needs no more than the scale.

    Under autocast the features are shorter than the norm's buffers, whose products would come out
    long: torch's own kernel keeps the type, at the price of keeping `x` for the backward pass.
    """
    if x.dtype != weight.dtype:
        return functional.batch_norm(x, mean, variance, weight, bias, eps=eps)
    scale = weight * (variance + eps).rsqrt()
    shift = bias - mean * scale
    return torch.addcmul(shift[:, None, None], x, scale[:, None, None])
