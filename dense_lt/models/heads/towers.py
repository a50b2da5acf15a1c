"""Towers: the convolutions of a dense head before its predictions."""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from dense_lt.models.frozen_norm import FrozenNorm

Norm = Literal["group", "batch", "frozen_batch", "none"]
Activation = Literal["relu", "silu"]
Deformable = Literal["none", "last", "all"]
Initialization = Literal["normal", "torch"]


class TowerShape(NamedTuple):
    """What both towers and the last convolutions are; the fields are those of `DenseHeadConfig`."""

    channels: int = 256
    num_convs: int = 4
    norm: Norm = "group"
    norm_groups: int = 32
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1
    activation: Activation = "relu"
    deformable: Deformable = "none"
    stem: bool = False
    output_kernel: int = 3
    initialization: Initialization = "normal"


def make_tower(in_channels: int, shape: TowerShape) -> nn.Sequential:
    """`num_convs` times convolution 3x3, norm, activation; maps keep their size."""
    layers: list[nn.Module] = []
    for index in range(shape.num_convs):
        below = shape.channels if index else in_channels
        last = index == shape.num_convs - 1
        deforms = shape.deformable == "all" or (shape.deformable == "last" and last)
        kind = DeformableConvolution if deforms else partial(nn.Conv2d, kernel_size=3, padding=1)
        layers += block(kind(below, shape.channels, bias=shape.norm == "none"), shape)
    return nn.Sequential(*layers)


def make_stem(in_channels: int, shape: TowerShape) -> nn.Module:
    """A 1x1 convolution below both towers (YOLOX), or nothing."""
    if not shape.stem:
        return nn.Identity()
    convolution = nn.Conv2d(in_channels, shape.channels, 1, bias=shape.norm == "none")
    return nn.Sequential(*block(convolution, shape))


def block(convolution: nn.Module, shape: TowerShape) -> list[nn.Module]:
    """`convolution`, its norm and its activation."""
    activation = nn.ReLU(inplace=True) if shape.activation == "relu" else nn.SiLU(inplace=True)
    norm = _norm(shape)
    return [convolution, activation] if norm is None else [convolution, norm, activation]


def _norm(shape: TowerShape) -> nn.Module | None:
    match shape.norm:
        case "group":
            return nn.GroupNorm(shape.norm_groups, shape.channels, eps=shape.norm_eps)
        case "batch":
            return nn.BatchNorm2d(shape.channels, eps=shape.norm_eps, momentum=shape.norm_momentum)
        case "frozen_batch":
            return FrozenNorm(shape.channels, eps=shape.norm_eps)
        case "none":
            return None


class DeformableConvolution(nn.Module):
    """A 3x3 convolution whose nine points move and weigh as a second convolution says.

    That second one starts at zero: the points lie on their grid and weigh one half. In float32,
    whatever autocast does around it.

    Source: Zhu et al. 2019 (Deformable ConvNets v2); in the towers: Zhang et al. 2020 (ATSS, code).
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = False) -> None:
        """Keeps height and width; one group of offsets."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.offsets = nn.Conv2d(in_channels, 27, 3, padding=1)  # 9 points x (y, x), 9 weights
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.offsets.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            offsets, weights = self.offsets(features).split([18, 9], dim=1)
            return deform_conv2d(
                features,
                offsets,
                self.weight,
                self.bias,
                padding=(1, 1),
                mask=weights.sigmoid(),
            )
