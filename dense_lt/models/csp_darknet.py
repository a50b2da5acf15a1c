"""The backbone of YOLOX, which timm does not have, and the blocks that its pyramid shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from dense_lt.utils.errors import ConfigError

SIZES: Mapping[str, tuple[float, float]] = {
    "csp_darknet_s": (0.33, 0.5),
    "csp_darknet_m": (0.67, 0.75),
    "csp_darknet_l": (1.0, 1.0),
    "csp_darknet_x": (1.33, 1.25),
}
"""Depth and width of the published sizes."""

EPS, MOMENTUM = 1e-3, 0.03
"""Of every BatchNorm of YOLOX."""

STRIDES = (2, 4, 8, 16, 32)


class CspDarknet(nn.Module):
    """Cross-stage partial Darknet: feature maps of strides 2 to 32, from scratch.

    It has the interface of `Backbone`.

    Source: Ge et al. 2021 (YOLOX), and its code; a stage: Wang et al. 2020 (CSPNet).
    """

    def __init__(
        self,
        name: str,
        *,
        levels: tuple[int, int] = (3, 5),
        frozen_stages: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Build one of `SIZES`.

        Args:
            name: of the size.
            levels: first and last level wanted, within 1 to 5; level l has stride 2^l.
            frozen_stages: stages that do not train; 1 is the stem.
            options: `depth` and `width`, instead of those of the size.

        Raises:
            ConfigError: an unknown name, option or level.
        """
        super().__init__()
        depth, width = _size(name, options or {}, levels)
        self.name = name
        base, blocks = int(64 * width), max(round(3 * depth), 1)
        channels = [base * 2**i for i in range(5)]
        self.stem = Focus(base)
        self.stages = nn.ModuleList(
            nn.Sequential(
                *_entry(below, own, pools=index == 3),
                CspStage(own, own, blocks * (1, 3, 3, 1)[index], adds=index < 3),
            )
            for index, (below, own) in enumerate(pairwise(channels))
        )
        self._wanted = range(levels[0] - 1, levels[1])
        self.channels = tuple(channels[i] for i in self._wanted)
        self.strides = tuple(STRIDES[i] for i in self._wanted)
        self.frozen_stages = frozen_stages
        self._frozen = [self.stem, *self.stages][:frozen_stages]
        for module in self._frozen:
            module.requires_grad_(requires_grad=False)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """`pixels` (B, 3, H, W) -> maps (B, channels_l, H_l, W_l), finest first."""
        maps = [self.stem(pixels)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return [maps[i] for i in self._wanted]

    def train(self, mode: bool = True) -> CspDarknet:
        """As in torch, except that frozen stages stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def pixel_statistics(self) -> tuple[Sequence[float], Sequence[float]]:
        """Mean and standard deviation of RGB in [0, 1]: pixels enter as they are, 0 to 255."""
        return (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)


class ConvBlock(nn.Sequential):
    """Convolution without bias, BatchNorm, SiLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        """Keeps the size, divided by `stride` and rounded up."""
        convolution = nn.Conv2d(
            in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False
        )
        norm = nn.BatchNorm2d(out_channels, eps=EPS, momentum=MOMENTUM)
        super().__init__(convolution, norm, nn.SiLU(inplace=True))


class Focus(nn.Module):
    """Every second pixel of every second row becomes channels; then a block. Stride 2."""

    def __init__(self, out_channels: int) -> None:
        """From 3 channels."""
        super().__init__()
        self.block = ConvBlock(12, out_channels, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, out_channels, ceil(H/2), ceil(W/2))."""
        height, width = pixels.shape[-2:]
        pixels = nn.functional.pad(pixels, (0, width % 2, 0, height % 2))
        parts = [pixels[..., y::2, x::2] for x in (0, 1) for y in (0, 1)]
        return self.block(torch.cat(parts, dim=1))


class Bottleneck(nn.Module):
    """A 1x1 and a 3x3 block, added to their input or not."""

    def __init__(self, channels: int, *, adds: bool) -> None:
        """`adds`: a residual connection."""
        super().__init__()
        self.blocks = nn.Sequential(
            ConvBlock(channels, channels, 1), ConvBlock(channels, channels, 3)
        )
        self.adds = adds

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> the same shape."""
        return x + self.blocks(x) if self.adds else self.blocks(x)


class CspStage(nn.Module):
    """Half of the channels through bottlenecks, half past them, both joined by a 1x1 block."""

    def __init__(self, in_channels: int, out_channels: int, depth: int, *, adds: bool) -> None:
        """`depth` bottlenecks, residual if `adds`."""
        super().__init__()
        half = out_channels // 2
        self.through = nn.Sequential(
            ConvBlock(in_channels, half, 1), *(Bottleneck(half, adds=adds) for _ in range(depth))
        )
        self.past = ConvBlock(in_channels, half, 1)
        self.join = ConvBlock(2 * half, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        return self.join(torch.cat([self.through(x), self.past(x)], dim=1))


class PyramidPooling(nn.Module):
    """Maxima over squares of 5, 9 and 13 cells beside the cells themselves.

    Source: He et al. 2014, as in YOLOv3-SPP.
    """

    def __init__(self, channels: int) -> None:
        """Keeps channels and size."""
        super().__init__()
        self.enter = ConvBlock(channels, channels // 2, 1)
        self.pools = nn.ModuleList(nn.MaxPool2d(k, stride=1, padding=k // 2) for k in (5, 9, 13))
        self.join = ConvBlock(channels // 2 * 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> the same shape."""
        x = self.enter(x)
        return self.join(torch.cat([x, *(pool(x) for pool in self.pools)], dim=1))


def _entry(below: int, own: int, *, pools: bool) -> list[nn.Module]:
    entry: list[nn.Module] = [ConvBlock(below, own, 3, stride=2)]
    return [*entry, PyramidPooling(own)] if pools else entry


def _size(name: str, options: Mapping[str, Any], levels: tuple[int, int]) -> tuple[float, float]:
    if name not in SIZES:
        raise ConfigError(f"model.backbone.name: no {name!r}; allowed: {', '.join(SIZES)}")
    unknown = sorted(set(options) - {"depth", "width"})
    if unknown:
        raise ConfigError(
            f"model.backbone.options: {name} has no {', '.join(unknown)}; allowed: depth, width"
        )
    if not 1 <= levels[0] <= levels[1] <= 5:
        raise ConfigError(f"model.backbone: {name} has levels 1 to 5, got {list(levels)}")
    depth, width = SIZES[name]
    return float(options.get("depth", depth)), float(options.get("width", width))
