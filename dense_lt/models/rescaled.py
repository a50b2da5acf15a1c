"""Classifiers whose weights get another length: LWS and tau-normalisation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Rescaling(NamedTuple):
    """What is done to the length of a classifier's weights, prior by prior (K logits each).

    Source: Kang et al. 2020, Decoupling representation and classifier, sections 4.2 and 4.3.
    """

    num_classes: int  # C; their logits come first
    num_logits: int  # K
    learnt: bool = False
    """A factor for each logit that is trained (LWS); biases are not scaled."""

    tau: float = 0.0
    """In evaluation the weights of a class are divided by r^tau, with r their norm over the
    geometric mean of the norms of all classes, so that on average nothing changes. Biases and other
    logits stay; 0 does nothing."""


class RescaledLinear(nn.Linear):
    """A fully connected classifier with a `Rescaling`."""

    def __init__(self, in_features: int, rescaling: Rescaling) -> None:
        super().__init__(in_features, rescaling.num_logits)
        self.rescaling = rescaling
        self.scale = nn.Parameter(torch.ones(rescaling.num_logits)) if rescaling.learnt else None

    def effective_weight(self) -> Tensor:
        """(K, in_features) what the features are multiplied with."""
        return _rescaled(self.weight, self.scale, self.rescaling, evaluates=not self.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102 - see nn.Linear
        return functional.linear(input, self.effective_weight(), self.bias)


class RescaledConv2d(nn.Conv2d):
    """A convolution with a `Rescaling` as the classifier of A priors, ordered (prior, logit).

    The priors of a location share factors and norms.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, rescaling: Rescaling
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.rescaling = rescaling
        self.scale = nn.Parameter(torch.ones(rescaling.num_logits)) if rescaling.learnt else None

    def effective_weight(self) -> Tensor:
        """(A * K, in_channels, k, k) what the features are convolved with."""
        return _rescaled(self.weight, self.scale, self.rescaling, evaluates=not self.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102 - see nn.Conv2d
        return self._conv_forward(input, self.effective_weight(), self.bias)


def _rescaled(
    weight: Tensor, scale: Tensor | None, rescaling: Rescaling, *, evaluates: bool
) -> Tensor:
    rows = weight.reshape(-1, rescaling.num_logits, weight[0].numel())  # (A, K, features)
    if scale is not None:
        rows = rows * scale[:, None]
    if evaluates and rescaling.tau:
        norms = rows[:, : rescaling.num_classes].square().sum(dim=(0, 2)).sqrt()
        log_norms = norms.clamp(min=torch.finfo(norms.dtype).tiny).log()
        factor = (rescaling.tau * (log_norms.mean() - log_norms)).exp()
        others = rescaling.num_logits - rescaling.num_classes
        rows = rows * functional.pad(factor, (0, others), value=1.0)[:, None]
    return rows.reshape(weight.shape)
