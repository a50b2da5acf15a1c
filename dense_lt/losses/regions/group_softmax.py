"""Balanced group softmax: classes compete only with classes of similar frequency."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dense_lt.balance.statistics import GradientStatistics, of_plain_sums
from dense_lt.losses.regions.base import mean_ratios, note_softmax, refuse_priors
from dense_lt.ops.matching import BACKGROUND


class GroupSoftmaxLoss(nn.Module):
    """A softmax over the classes of each group and "others", and one over object and background.

    A group learns from its own regions and `others` times as many of the rest, drawn by chance; one
    without regions learns nothing. Every group's loss is a mean over the regions that it sees, and
    the groups' losses are added. A score is that in the group times that of "object".

    The logits are, group after group, "others" and its classes in label order; then "object" and
    "background". Groups without classes have no logits.

    Source: Li et al. 2020, Overcoming classifier imbalance for long-tail object detection with
    balanced group softmax, and its code.

    Args:
        statistics: tracker of the C classes.
        counts: C training instances.
        weight: factor of the loss.
        boundaries: counts at which the next group begins, rising.
        others: regions of other groups for each own one.
    """

    def __init__(
        self,
        statistics: GradientStatistics,
        counts: Sequence[int],
        *,
        weight: float = 1.0,
        boundaries: Sequence[int] = (10, 100, 1000),
        others: float = 8.0,
    ) -> None:
        super().__init__()
        self.statistics = statistics
        self.weight = weight
        self.others = others
        self.num_classes = statistics.num_classes
        group_of = [bisect_right(boundaries, count) for count in counts]
        groups = [
            [label for label, own in enumerate(group_of) if own == group]
            for group in range(len(boundaries) + 1)
        ]
        self.groups = [group for group in groups if group]
        self.num_logits = sum(len(group) + 1 for group in self.groups) + 2

    def forward(self, logits: Tensor, labels: Tensor, normalizer: Tensor) -> Tensor:
        """See `RegionClassificationLoss`."""
        *columns, objectness = self._split(logits)
        background = (labels == BACKGROUND).long()
        total = _mean_cross_entropy(objectness, background)
        for group, own in zip(self.groups, columns, strict=True):
            place = labels.new_zeros(self.num_classes + 1)  # the last is that of background
            place[group] = torch.arange(1, len(group) + 1, device=labels.device)
            targets = place[labels]
            rows = self._draw(targets)
            total = total + _mean_cross_entropy(own[rows], targets[rows])
            if logits.requires_grad:
                self._note(group, own[rows].detach(), targets[rows])
        return self.weight * total * (len(labels) / normalizer)

    def _draw(self, targets: Tensor) -> Tensor:
        """Rows that a group sees, by `targets` (N,), which are 0 for others."""
        own = (targets > 0).nonzero().squeeze(1)
        rest = (targets == 0).nonzero().squeeze(1)
        count = int(self.others * len(own))
        return torch.cat([own, rest[torch.randperm(len(rest), device=rest.device)[:count]]])

    def _note(self, group: Sequence[int], logits: Tensor, targets: Tensor) -> None:
        """Note the gradient of the classes of a group as if they were all there are."""
        own = GradientStatistics(len(group)).to(logits.device)
        # "others" last, so that its column is not counted
        note_softmax(own, logits.roll(-1, dims=1).softmax(dim=-1), (targets - 1) % (len(group) + 1))
        sums = own.pending()
        index = torch.tensor(group, device=logits.device)
        everything = sums.new_zeros(2, self.num_classes).index_copy(1, index, sums)
        self.statistics.note(*everything, weight=of_plain_sums())

    def scores(self, logits: Tensor) -> Tensor:
        """See `RegionClassificationLoss`."""
        *columns, objectness = self._split(logits.float())
        scores = logits.new_zeros(*logits.shape[:-1], self.num_classes, dtype=torch.float32)
        for group, own in zip(self.groups, columns, strict=True):
            scores[..., group] = own.softmax(dim=-1)[..., 1:]
        return scores * objectness.softmax(dim=-1)[..., :1]

    def class_logits(self, logits: Tensor) -> Tensor:
        """`logits` (..., K) -> (..., C) those of the classes in label order."""
        *columns, _ = self._split(logits)
        found = logits.new_empty(*logits.shape[:-1], self.num_classes)
        for group, own in zip(self.groups, columns, strict=True):
            found[..., group] = own[..., 1:]
        return found

    def _split(self, logits: Tensor) -> tuple[Tensor, ...]:
        return logits.split([*(len(group) + 1 for group in self.groups), 2], dim=-1)

    def initial_bias(self, prior: float | None, objectness: float | None) -> Tensor:
        """See `RegionClassificationLoss`."""
        refuse_priors("a softmax", prior, objectness)
        return torch.zeros(self.num_logits)

    def summary(self, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """See `mean_ratios`."""
        return mean_ratios(self.statistics, groups)


def _mean_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """0 of no rows, where torch's mean is not a number."""
    return functional.cross_entropy(logits, targets, reduction="sum") / max(len(targets), 1)
