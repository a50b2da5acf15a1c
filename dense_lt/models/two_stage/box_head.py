"""Box head: pooled region in, class logits and box codes out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dense_lt.models.rescaled import RescaledLinear, Rescaling
from dense_lt.models.two_stage.regions import RegionPooling, Regions


class RegionPredictions(NamedTuple):
    """Raw outputs for N regions."""

    logits: Tensor  # (N, K)
    codes: Tensor  # (N, C, 4), or (N, 1, 4) if boxes do not depend on the class

    def codes_of(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Codes (n, 4) of the regions `rows` (n,) for their classes `labels` (n,)."""
        return self.codes[rows, labels if self.codes.shape[1] > 1 else 0]


class BoxHead(nn.Module):
    """Fully connected layers, then a classifier and a box regressor.

    Source: Girshick 2015 (Fast R-CNN); two layers of 1024 as in Lin et al. 2017 (FPN).
    """

    def __init__(
        self,
        *,
        pooling: RegionPooling,
        in_channels: int,
        channels: int,
        num_layers: int,
        classifier: nn.Linear,
        num_boxes: int,
        initialization: Literal["xavier", "torch"] = "xavier",
    ) -> None:
        """Build and initialise.

        Args:
            pooling: from maps and regions to features.
            in_channels: of the maps.
            channels: of every layer.
            num_layers: before the predictors.
            classifier: see `linear_classifier`.
            num_boxes: C, or 1 if boxes do not depend on the class.
            initialization: of the layers; see `BoxHeadConfig`.
        """
        super().__init__()
        self.pooling = pooling
        sizes = [in_channels * pooling.size**2] + [channels] * num_layers
        self.layers = nn.ModuleList(nn.Linear(below, above) for below, above in pairwise(sizes))
        self.classifier = classifier
        self.box_regressor = nn.Linear(sizes[-1], num_boxes * 4)
        for layer in self.layers if initialization == "xavier" else ():
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.box_regressor.weight, std=0.001)
        nn.init.zeros_(self.box_regressor.bias)

    def forward(self, levels: Sequence[Tensor], regions: Regions) -> RegionPredictions:
        """Of N `regions`; `levels`: all maps of the pyramid."""
        features = self.pooling(levels, regions).flatten(1)
        for layer in self.layers:
            features = functional.relu(layer(features))
        codes = self.box_regressor(features)
        return RegionPredictions(self.classifier(features), codes.unflatten(1, (-1, 4)))


class NormalizedLinear(nn.Linear):
    """Cosine of features and class weights, times a temperature, plus a bias.

    Source: Wang et al. 2021 (Seesaw loss), section 3.3.
    """

    def __init__(self, in_features: int, out_features: int, temperature: float) -> None:
        super().__init__(in_features, out_features)
        self.temperature = temperature

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102 - see nn.Linear
        features = self.temperature * normalized(input)
        return functional.linear(features, normalized(self.weight), self.bias)


def normalized(vectors: Tensor) -> Tensor:
    """`vectors` (N, channels, ...) of length 1 along their second axis."""
    return functional.normalize(vectors, dim=1, eps=1e-6)


def linear_classifier(
    in_features: int,
    initial_bias: Tensor,
    *,
    temperature: float | None = None,
    rescaling: Rescaling | None = None,
) -> nn.Linear:
    """A classifier whose bias starts at `initial_bias` (K,); normalised if it has a temperature."""
    num_logits = len(initial_bias)
    if temperature is not None:
        classifier: nn.Linear = NormalizedLinear(in_features, num_logits, temperature)
    elif rescaling is not None:
        classifier = RescaledLinear(in_features, rescaling)
    else:
        classifier = nn.Linear(in_features, num_logits)
    nn.init.normal_(classifier.weight, std=0.01)
    with torch.no_grad():
        classifier.bias.copy_(initial_bias)
    return classifier
