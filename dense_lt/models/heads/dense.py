"""Dense head: two towers of convolutions on every level, the same on all of them or not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from dense_lt.models.heads.towers import (
    DeformableConvolution,
    TowerShape,
    make_stem,
    make_tower,
)
from dense_lt.models.rescaled import RescaledConv2d, Rescaling
from dense_lt.ops.layout import rows_of_map
from dense_lt.structures import DensePredictions


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
        quality_bias: float | None = 0.0,
        num_level_scales: int = 0,
        rescaling: Rescaling | None = None,
    ) -> None:
        """Build and initialise.

        Args:
            in_channels: of every pyramid level.
            num_logits: K, asked from the classification loss.
            priors_per_location: A.
            tower: shape of both towers, kernel of the last convolutions, start of all of them.
            logit_bias: (K,) the classifier's bias before training, the same for every prior.
            quality_bias: logit of the boxes' quality before training; None predicts none.
            num_level_scales: 0, or the number of levels, each with a learnt factor on its codes.
            rescaling: of the classifier's weights.
        """
        super().__init__()
        self.num_logits = num_logits
        self.stem = make_stem(in_channels, tower)
        below = tower.channels if tower.stem else in_channels
        self.class_tower = make_tower(below, tower)
        self.box_tower = make_tower(below, tower)
        width = tower.channels if tower.num_convs else below
        kernel = tower.output_kernel
        last = partial(nn.Conv2d, width, kernel_size=kernel, padding=kernel // 2)
        self.classifier = (
            last(priors_per_location * num_logits)
            if rescaling is None
            else RescaledConv2d(width, priors_per_location * num_logits, kernel, rescaling)
        )
        self.box_regressor = last(priors_per_location * 4)
        self.quality_predictor = None if quality_bias is None else last(priors_per_location)
        self.level_scales = nn.Parameter(torch.ones(num_level_scales)) if num_level_scales else None
        if tower.initialization == "normal":
            self._draw_normal()
        self._set_priors(logit_bias.repeat(priors_per_location), quality_bias or 0.0)

    def _draw_normal(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | DeformableConvolution):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, DeformableConvolution):
                nn.init.zeros_(module.offsets.weight)

    def _set_priors(self, logit_bias: Tensor, quality_bias: float) -> None:
        assert self.classifier.bias is not None
        with torch.no_grad():
            self.classifier.bias.copy_(logit_bias)
            if self.quality_predictor is not None and self.quality_predictor.bias is not None:
                self.quality_predictor.bias.fill_(quality_bias)

    @property
    def classifiers(self) -> tuple[nn.Conv2d, ...]:
        """The convolutions that make the logits: one for all levels."""
        return (self.classifier,)

    @property
    def predicts_quality(self) -> bool:
        """Whether there is a quality branch."""
        return self.quality_predictor is not None

    def forward(self, levels: Sequence[Tensor], *, with_logits: bool = True) -> DensePredictions:
        """Predict.

        Args:
            levels: L maps (B, in_channels, H_l, W_l), finest first.
            with_logits: False leaves the classifier to the loss (see `fused_head_loss`).
        """
        logits, codes, quality, inputs = [], [], [], []
        for index, level in enumerate(levels):
            features = self.stem(level)
            class_features = self.class_tower(features)
            if with_logits:
                logits.append(rows_of_map(self.classifier(class_features), self.num_logits))
            else:
                inputs.append(class_features)
            box_features = self.box_tower(features)
            code = rows_of_map(self.box_regressor(box_features), 4)
            codes.append(code if self.level_scales is None else code * self.level_scales[index])
            if self.quality_predictor is not None:
                quality.append(rows_of_map(self.quality_predictor(box_features), 1).squeeze(-1))
        return DensePredictions(
            tuple(logits), tuple(codes), tuple(quality) or None, classifier_inputs=tuple(inputs)
        )


class PerLevelHead(nn.Module):
    """A head of its own for every level, as in YOLOX.

    Source: Ge et al. 2021 (YOLOX), the "decoupled head".
    """

    def __init__(self, heads: Sequence[DenseHead]) -> None:
        """`heads`: one per level, finest first."""
        super().__init__()
        self.levels = nn.ModuleList(heads)
        self.num_logits = heads[0].num_logits

    @property
    def classifiers(self) -> tuple[nn.Conv2d, ...]:
        """The convolutions that make the logits: one per level."""
        return tuple(head.classifier for head in self._heads())

    @property
    def predicts_quality(self) -> bool:
        """Whether there is a quality branch."""
        return self._heads()[0].predicts_quality

    def forward(self, levels: Sequence[Tensor], *, with_logits: bool = True) -> DensePredictions:
        """See `DenseHead.forward`; the maps may have different channels."""
        parts = [
            head([level], with_logits=with_logits)
            for head, level in zip(self._heads(), levels, strict=True)
        ]
        quality = [part.quality[0] for part in parts if part.quality is not None]
        return DensePredictions(
            tuple(logits for part in parts for logits in part.logits),
            tuple(part.codes[0] for part in parts),
            tuple(quality) or None,
            classifier_inputs=tuple(x for part in parts for x in part.classifier_inputs),
        )

    def _heads(self) -> list[DenseHead]:
        return [head for head in self.levels if isinstance(head, DenseHead)]
