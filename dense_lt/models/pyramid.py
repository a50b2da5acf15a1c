"""Backbone and feature pyramid: normalised pixels in, one map per level out."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FeaturePyramidNetwork

from dense_lt.models.backbone import Backbone
from dense_lt.models.csp_darknet import CspDarknet
from dense_lt.structures import ImageBatch

START = {"xavier_uniform": nn.init.xavier_uniform_, "xavier_normal": nn.init.xavier_normal_}
"""Of a pyramid's convolutions, where it is not torchvision's."""


class Pyramid(nn.Module):
    """Top-down feature pyramid; levels above it by convolutions or by leaving out cells.

    Level l has stride 2^l. With levels 3..7 on backbone levels 3..5 this is the P3-P7 of
    RetinaNet, with levels 2..6 on 2..5 and `max_pool` the P2-P6 of Faster R-CNN; with fewer levels
    the upper maps still feed the lower ones.

    Source: Lin et al. 2017 (FPN, its P6 too; RetinaNet for P6 and P7, from P5);
    `lateral_convolution`: the code of Li et al. 2022 (EFL), P6 from C5's 1x1 convolution.
    """

    def __init__(
        self,
        backbone: Backbone | CspDarknet,
        *,
        levels: tuple[int, int],
        channels: int,
        above: Literal["convolution", "lateral_convolution", "max_pool"] = "convolution",
        initialization: Literal[
            "kaiming_uniform", "xavier_uniform", "xavier_normal"
        ] = "kaiming_uniform",
    ) -> None:
        """Build on `backbone`, whose first level must be `levels[0]`; see `PyramidConfig`."""
        super().__init__()
        self.backbone = backbone
        self.fpn = FeaturePyramidNetwork(list(backbone.channels), channels)
        num_levels = levels[1] - levels[0] + 1
        num_maps = len(backbone.channels)
        for unused in range(num_levels, num_maps):
            # its output is dropped; parameters without gradient would stop DistributedDataParallel
            self.fpn.layer_blocks[unused] = nn.Identity()
        self.num_maps = min(num_levels, num_maps)
        self.above = nn.ModuleList(
            nn.MaxPool2d(1, 2) if above == "max_pool" else _strided_convolution(channels)
            for _ in range(num_levels - self.num_maps)
        )
        for own in (*self.fpn.modules(), *self.above):
            if isinstance(own, nn.Conv2d) and initialization in START:
                START[initialization](own.weight)
        self._from_lateral = above == "lateral_convolution"
        self.channels = (channels,) * num_levels
        self.strides = tuple(2**level for level in range(levels[0], levels[1] + 1))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """`pixels` (B, 3, H, W) -> maps (B, channels, H_l, W_l), finest first."""
        maps = OrderedDict((str(i), x) for i, x in enumerate(self.backbone(pixels)))
        outputs = list(self.fpn(maps).values())[: self.num_maps]
        if not self.above:
            return outputs
        below = self.fpn.inner_blocks[-1](maps.popitem()[1]) if self._from_lateral else outputs[-1]
        for index, layer in enumerate(self.above):
            rectifies = index and isinstance(layer, nn.Conv2d) and not self._from_lateral
            below = layer(functional.relu(below) if rectifies else below)
            outputs.append(below)
        return outputs


def _strided_convolution(channels: int) -> nn.Conv2d:
    convolution = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution


class PixelNormalizer(nn.Module):
    """uint8 pixels to what the backbone was trained on; padding becomes exactly 0."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """`mean` and `std` of RGB in [0, 1]."""
        super().__init__()
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", 255 * torch.tensor(mean).view(shape), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(shape), persistent=False)

    def forward(self, images: ImageBatch) -> Tensor:
        """(B, 3, H, W) float32, 0 outside of each image's own size."""
        pixels = (images.pixels - self.mean) / self.std
        height, width = pixels.shape[-2:]
        for image, (own_height, own_width) in zip(pixels, images.sizes, strict=True):
            if own_height < height:
                image[:, own_height:] = 0
            if own_width < width:
                image[:, :, own_width:] = 0
        return pixels
