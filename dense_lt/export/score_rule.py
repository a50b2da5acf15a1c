"""Calibration as a part of an exported detector: scores changed by training counts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ScoreRule(nn.Module):
    """Scores s become sigmoid(factor * logit(s) + offset), class by class.

    The methods of `evaluation/calibration.py` that look at training counts alone. There they
    change saved detections; here they also decide which ones are found.
    """

    factor: Tensor
    offset: Tensor

    def __init__(self, factor: Tensor, offset: Tensor) -> None:
        """Each (C,); `factor` above 0."""
        super().__init__()
        self.register_buffer("factor", factor.float())
        self.register_buffer("offset", offset.float())

    def forward(self, scores: Tensor) -> Tensor:
        """(..., C) in [0, 1] -> the same; 0 and 1 stay."""
        return (self.factor * (scores.log() - (-scores).log1p()) + self.offset).sigmoid()


def norcal(images: Sequence[int], gamma: float) -> ScoreRule:
    """Odds divided by the class's training images to the power `gamma` (Pan et al. 2021)."""
    share = _relative(images)
    return ScoreRule(torch.ones_like(share), -gamma * share.log())


def logit_adjustment(instances: Sequence[int], tau: float) -> ScoreRule:
    """`tau` times the log share of the training instances off the logit (Menon et al. 2021)."""
    return norcal(instances, tau)


def class_temperature(images: Sequence[int], gamma: float) -> ScoreRule:
    """Logit times (training images / the most of any class) to the power `gamma`."""
    share = _relative(images)
    return ScoreRule(share**gamma, torch.zeros_like(share))


def _relative(counts: Sequence[int]) -> Tensor:
    """(C,) float64 counts, at least 1, over the largest of them."""
    known = torch.tensor(counts, dtype=torch.float64).clamp(min=1)
    return known / known.max()
