"""Path aggregation: a pyramid that goes down and up again, with channels that grow."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from dense_lt.models.backbone import Backbone
from dense_lt.models.csp_darknet import ConvBlock, CspDarknet, CspStage


class PathAggregation(nn.Module):
    """Top-down path with nearest upsampling, then a bottom-up one; maps keep their channels.

    Source: Liu et al. 2018 (PANet), with the CSP stages of Ge et al. 2021 (YOLOX).
    """

    def __init__(
        self, backbone: Backbone | CspDarknet, *, depth: float, residual: bool = False
    ) -> None:
        """Build on `backbone`; stages have round(3 x `depth`) bottlenecks, `residual` or not."""
        super().__init__()
        self.backbone = backbone
        self.channels = backbone.channels
        self.strides = backbone.strides
        blocks = max(round(3 * depth), 1)
        pairs = list(pairwise(self.channels))  # finer, coarser
        self.reduce = nn.ModuleList(ConvBlock(coarse, fine, 1) for fine, coarse in pairs)
        self.down = nn.ModuleList(CspStage(2 * f, f, blocks, adds=residual) for f, _ in pairs)
        self.stride = nn.ModuleList(ConvBlock(fine, fine, 3, stride=2) for fine, _ in pairs)
        self.up = nn.ModuleList(CspStage(2 * f, c, blocks, adds=residual) for f, c in pairs)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """`pixels` (B, 3, H, W) -> maps (B, channels_l, H_l, W_l), finest first."""
        maps: list[Tensor] = self.backbone(pixels)
        current, reduced = maps[-1], []
        for level in reversed(range(len(self.reduce))):
            narrow = self.reduce[level](current)
            reduced.insert(0, narrow)
            wide = functional.interpolate(narrow, size=maps[level].shape[-2:], mode="nearest")
            current = self.down[level](torch.cat([wide, maps[level]], dim=1))
        outputs = [current]
        for level, narrow in enumerate(reduced):
            current = self.stride[level](current)
            current = self.up[level](torch.cat([current, narrow], dim=1))
            outputs.append(current)
        return outputs
