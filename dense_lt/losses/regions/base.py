"""What a loss on regions is, and what several of them need.

Logits are (N, K), labels (N,) in [0, C) or BACKGROUND; costs are summed over the K logits and
divided by a normaliser, the number of regions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        """Weighted scalar loss of `logits` (N, K) and `labels` (N,), divided by `normalizer` ().

        Those with `federated` also take `checked`, see `images_of_regions`.
        """
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


def classes_come_first(loss: RegionClassificationLoss) -> bool:
    """Whether the first C logits are those of the classes; other losses have `class_logits`."""
    return not hasattr(loss, "class_logits")


def note_softmax(
    statistics: GradientStatistics,
    probabilities: Tensor,
    targets: Tensor,
    *,
    row_weight: Tensor | None = None,
    weight: Tensor | float = 1.0,
) -> None:
    """Note |p - y| of a softmax over the C classes and more.

    Args:
        statistics: of C classes.
        probabilities: (N, K), K >= C; columns from C on are not counted.
        targets: (N,) int64 in [0, K).
        row_weight: (N,) factor on the gradient of a row.
        weight: factor on all.
    """
    num_classes = statistics.num_classes
    rows = (targets < num_classes).nonzero().squeeze(1)
    own = targets[rows]
    error = probabilities[:, :num_classes].clone()
    error[rows, own] = 1 - error[rows, own]  # |p - y|
    if row_weight is not None:
        error *= row_weight[:, None]
    zeros = error.new_zeros(num_classes, dtype=torch.float64)
    positive = zeros.index_add(0, own, error[rows, own].double())
    error[rows, own] = 0
    statistics.note(positive, error.sum(dim=0, dtype=torch.float64), weight=weight)


def mean_ratios(
    statistics: GradientStatistics, groups: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    """Mean ratio, up to 1, of every group of classes; see `SigmoidLoss.summary`."""
    ratio = statistics.ratio().clamp(max=1)
    return {
        f"ratio/{group}": float(ratio[list(own)].mean()) for group, own in groups.items() if own
    }


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
