"""Losses with one softmax over all classes and background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from dense_lt.balance.statistics import GradientStatistics, of_plain_sums
from dense_lt.losses.regions.base import mean_ratios, note_softmax, refuse_priors
from dense_lt.ops.matching import BACKGROUND


class Adjustment(Protocol):
    """What is added to the logits of the classes while they learn."""

    def __call__(self, statistics: GradientStatistics) -> Tensor:
        """(C,)."""
        ...


class SoftmaxLoss(nn.Module):
    """Cross-entropy over C classes and, with `background`, the last logit.

    Notes the gradient |p - y| of every class, as the control of the losses that use it.

    Args:
        statistics: tracker of the C classes.
        weight: factor of the loss.
        class_weight: (C,) factor on the loss of the regions of each class; background has 1.
        adjustment: of the logits of the classes; scores do without it.
        note_scaled: note gradients after the factor weight / normaliser, or before it.
        background: whether there is a logit for it; without, every row has a class.
    """

    class_weight: Tensor | None

    def __init__(
        self,
        statistics: GradientStatistics,
        *,
        weight: float = 1.0,
        class_weight: Tensor | None = None,
        adjustment: Adjustment | None = None,
        note_scaled: bool = False,
        background: bool = True,
    ) -> None:
        super().__init__()
        self.statistics = statistics
        self.weight = weight
        self.num_classes = statistics.num_classes
        self.num_logits = self.num_classes + int(background)
        if class_weight is not None:
            class_weight = self._with_background(class_weight, 1.0)
        # a setting, made again from the data: not part of a checkpoint
        self.register_buffer("class_weight", class_weight, persistent=False)
        self.adjustment = adjustment
        self.note_scaled = note_scaled

    def forward(self, logits: Tensor, labels: Tensor, normalizer: Tensor) -> Tensor:
        """See `RegionClassificationLoss`."""
        targets = torch.where(labels == BACKGROUND, self.num_classes, labels)
        if self.adjustment is not None:
            logits = logits + self._with_background(self.adjustment(self.statistics), 0.0)
        log_probabilities = logits.log_softmax(dim=-1)
        weight = self.class_weight
        if weight is not None:
            weight = weight.to(logits.dtype)
        loss = functional.nll_loss(log_probabilities, targets, weight=weight, reduction="sum")
        scale = self.weight / normalizer
        if logits.requires_grad:
            note_softmax(
                self.statistics,
                log_probabilities.detach().exp(),
                targets,
                row_weight=None if weight is None else weight[targets],
                weight=scale if self.note_scaled else of_plain_sums(),
            )
        return loss * scale

    def _with_background(self, values: Tensor, value: float) -> Tensor:
        """`values` (C,) of the classes -> (K,), with `value` for background if it has a logit."""
        return functional.pad(values, (0, self.num_logits - self.num_classes), value=value)

    def scores(self, logits: Tensor) -> Tensor:
        """See `RegionClassificationLoss`."""
        return logits.float().softmax(dim=-1)[..., : self.num_classes]

    def initial_bias(self, prior: float | None, objectness: float | None) -> Tensor:
        """See `RegionClassificationLoss`."""
        refuse_priors("a softmax", prior, objectness)
        return torch.zeros(self.num_logits)

    def summary(self, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """See `mean_ratios`."""
        return mean_ratios(self.statistics, groups)


class CountAdjustment(nn.Module):
    """tau ln(n / mean n): the loss asks frequent classes for less (Menon et al. 2021).

    Background is left alone, so that the shares of all objects and of background do not move.
    """

    offset: Tensor

    def __init__(self, counts: Sequence[int], tau: float = 1.0) -> None:
        super().__init__()
        n = torch.tensor(counts, dtype=torch.float64).clamp(min=1)
        offset = tau * (n / n.mean()).log()
        self.register_buffer("offset", offset.float(), persistent=False)

    def forward(self, statistics: GradientStatistics) -> Tensor:
        """See `Adjustment`."""
        return self.offset


class GradientAdjustment(nn.Module):
    """tau ln(I / mean I), with I the gradient that a class has received, at least `smallest`.

    Between two classes j and y that adds tau ln(I_j / I_y), as in Softmax-EQL; before the first
    step it adds nothing. Background is left alone, which the paper, on images, does not have.

    Source: Tan et al. 2022, The equalization losses, and its code (tau 1, smallest 1e-4).
    """

    def __init__(
        self,
        tau: float = 1.0,
        *,
        gradient: Literal["positive", "negative"] = "positive",
        smallest: float = 1e-4,
    ) -> None:
        super().__init__()
        self.tau = tau
        self.gradient = gradient
        self.smallest = smallest

    def forward(self, statistics: GradientStatistics) -> Tensor:
        """See `Adjustment`."""
        sums = statistics.positive if self.gradient == "positive" else statistics.negative
        received = sums.clamp(min=self.smallest)
        return (self.tau * (received / received.mean()).log()).float()
