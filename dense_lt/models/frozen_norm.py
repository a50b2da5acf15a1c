"""Batch normalisation of which nothing changes, in one pass over the features."""

from __future__ import annotations

import torch
from timm.layers.norm_act import FrozenBatchNormAct2d, freeze_batch_norm_2d
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FrozenBatchNorm2d


class FrozenNorm(FrozenBatchNorm2d):
    """torchvision's frozen batch normalisation, with one temporary instead of two."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` (B, C, H, W) -> its channels, scaled and shifted, in the same type."""
        return _scaled(x, self)


class FrozenNormAct(FrozenBatchNormAct2d):
    """timm's frozen batch normalisation with its activation, likewise."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` (B, C, H, W) -> its channels, scaled, shifted and activated, in the same type."""
        return self.act(self.drop(_scaled(x, self)))


def freeze_norms(module: nn.Module) -> nn.Module:
    """`module` with frozen norms in the place of all batch normalisations, itself included."""
    return _one_pass(freeze_batch_norm_2d(module))


def _one_pass(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        setattr(module, name, _one_pass(child))
    if type(module) is FrozenBatchNorm2d:
        own: nn.Module = FrozenNorm(module.weight.numel(), eps=module.eps)
    elif type(module) is FrozenBatchNormAct2d:
        own = FrozenNormAct(module.weight.numel(), eps=module.eps)
        own.drop, own.act = module.drop, module.act
    else:
        return module
    own.load_state_dict(module.state_dict())
    return own.to(module.weight)


def _scaled(x: Tensor, norm: FrozenBatchNorm2d | FrozenBatchNormAct2d) -> Tensor:
    """Scale and shift. With nothing to learn, the backward pass needs no more than the scale.

    Under autocast the features are shorter than the norm's buffers, whose products would come out
    long: torch's own kernel keeps the type, at the price of keeping `x` for the backward pass.
    """
    mean, variance, weight, bias = norm.running_mean, norm.running_var, norm.weight, norm.bias
    if x.dtype != weight.dtype:
        return functional.batch_norm(x, mean, variance, weight, bias, eps=norm.eps)
    scale = weight * (variance + norm.eps).rsqrt()
    shift = bias - mean * scale
    return torch.addcmul(shift[:, None, None], x, scale[:, None, None])
