"""What a loss on regions is, and what several of them need.

Logits are (N, K), labels (N,) in [0, C) or BACKGROUND; costs are summed over the K logits and
divided by a normaliser, the number of regions.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from dense_lt.balance.statistics import GradientStatistics


class RegionClassificationLoss(Protocol):
    """Knows how many logits a region needs, what they cost, and what they mean."""

    num_classes: int
    num_logits: int
    """K."""

    def __call__(self, logits: Tensor, labels: Tensor, normalizer: Tensor) -> Tensor:
        """Weighted scalar loss of `logits` (N, K) and `labels` (N,), divided by `normalizer` ()."""
        ...

    def scores(self, logits: Tensor) -> Tensor:
        """`logits` (..., K) -> (..., C) probabilities, float32."""
        ...

    def initial_bias(self, prior: float | None, objectness: float | None) -> Tensor:
        """(K,) bias of a classifier before training.

        Args:
            prior: score of every class where each has a sigmoid of its own, None for a half.
            objectness: of the logit for "no object", None for a half.

        Raises:
            ValueError: one is given that this loss has no use for.
        """
        ...


def note_softmax(statistics: GradientStatistics, probabilities: Tensor, targets: Tensor) -> None:
    """Note |p - y| of a softmax over the C classes and more.

    Args:
        statistics: of C classes.
        probabilities: (N, K), K >= C; columns from C on are not counted.
        targets: (N,) int64 in [0, K).
    """
    num_classes = statistics.num_classes
    rows = (targets < num_classes).nonzero().squeeze(1)
    own = targets[rows]
    hit = probabilities[rows, own].double()
    total = probabilities[:, :num_classes].sum(dim=0, dtype=torch.float64)
    zeros = torch.zeros_like(total)
    statistics.note(
        zeros.index_add(0, own, 1 - hit), (total - zeros.index_add(0, own, hit)).clamp(min=0)
    )


def refuse_priors(what: str, prior: float | None, objectness: float | None) -> None:
    """Say that a probability before training has no meaning for this loss.

    Raises:
        ValueError: one is given.
    """
    for name, value in (("prior_probability", prior), ("objectness_probability", objectness)):
        if value is not None:
            raise ValueError(
                f"model.head.{name} is {value} but {what} has no use for it; set it to null"
            )
