"""Dense head: the same two towers of convolutions on every level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dense_lt.ops.layout import rows_of_map
from dense_lt.structures import DensePredictions


class TowerShape(NamedTuple):
    """Size of the two towers; the fields are those of `DenseHeadConfig`."""

    channels: int = 256
    num_convs: int = 4
    norm_groups: int = 32


class DenseHead(nn.Module):
    """Class logits from one tower; box codes and, if wanted, their quality from the other.

    Source: Lin et al. 2017 (RetinaNet), with GroupNorm (Tian et al. 2019) and a quality branch on
    the box tower (Li et al. 2022, "improved baseline").
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_logits: int,
        priors_per_location: int,
        tower: TowerShape,
        logit_bias: Tensor,
        quality: bool = True,
        num_level_scales: int = 0,
    ) -> None:
        """Build and initialise.

        Args:
            in_channels: of every pyramid level.
            num_logits: K, asked from the classification loss.
            priors_per_location: A.
            tower: shape of both towers.
            logit_bias: (K,) the classifier's bias before training, the same for every prior.
            quality: predict the quality of each box.
            num_level_scales: 0, or the number of levels, each with a learnt factor on its codes.
        """
        super().__init__()
        self.num_logits = num_logits
        self.class_tower = _tower(in_channels, tower)
        self.box_tower = _tower(in_channels, tower)
        width = tower.channels if tower.num_convs else in_channels
        self.classifier = nn.Conv2d(width, priors_per_location * num_logits, 3, padding=1)
        self.box_regressor = nn.Conv2d(width, priors_per_location * 4, 3, padding=1)
        self.quality_predictor = (
            nn.Conv2d(width, priors_per_location, 3, padding=1) if quality else None
        )
        self.level_scales = nn.Parameter(torch.ones(num_level_scales)) if num_level_scales else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        assert self.classifier.bias is not None
        with torch.no_grad():
            self.classifier.bias.copy_(logit_bias.repeat(priors_per_location))

    def forward(self, levels: Sequence[Tensor], *, with_logits: bool = True) -> DensePredictions:
        """Predict.

        Args:
            levels: L maps (B, in_channels, H_l, W_l), finest first.
            with_logits: False leaves the classifier to the loss (see `fused_head_loss`).
        """
        logits, codes, quality, inputs = [], [], [], []
        for index, level in enumerate(levels):
            class_features = self.class_tower(level)
            if with_logits:
                logits.append(rows_of_map(self.classifier(class_features), self.num_logits))
            else:
                inputs.append(class_features)
            box_features = self.box_tower(level)
            code = rows_of_map(self.box_regressor(box_features), 4)
            codes.append(code if self.level_scales is None else code * self.level_scales[index])
            if self.quality_predictor is not None:
                quality.append(rows_of_map(self.quality_predictor(box_features), 1).squeeze(-1))
        return DensePredictions(
            tuple(logits), tuple(codes), tuple(quality) or None, classifier_inputs=tuple(inputs)
        )


def _tower(in_channels: int, shape: TowerShape) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(shape.num_convs):
        below = shape.channels if index else in_channels
        layers += [
            nn.Conv2d(below, shape.channels, 3, padding=1, bias=False),
            nn.GroupNorm(shape.norm_groups, shape.channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
