"""Which negatives count less because of what their row is: its image, its label, its logits?

A policy of `modulation` speaks of classes. These speak of rows: they put the rows into groups and
give every group a factor (C,) on the weights of its negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from dense_lt.ops.sigmoid_loss.arguments import Modulation
from dense_lt.utils import distributed


class Groups(NamedTuple):
    """The rows of some matrices in G groups."""

    factor: Tensor  # (G, C) float32, on the weight of negatives
    rows: tuple[Tensor, ...]  # (N,) int64 in [0, G), for each matrix

    def times(self, other: Groups) -> Groups:
        """Both factors; holds the pairs of groups that occur, so it waits for the device."""
        size = len(other.factor)
        keys = [own * size + theirs for own, theirs in zip(self.rows, other.rows, strict=True)]
        occurs = torch.zeros(len(self.factor) * size, dtype=torch.bool, device=self.factor.device)
        for key in keys:
            occurs[key] = True
        pairs = occurs.nonzero().squeeze(1)
        place = occurs.long().cumsum(0) - 1
        factor = self.factor[pairs // size] * other.factor[pairs % size]
        return Groups(factor, tuple(place[key] for key in keys))

    def shape(self, modulation: Modulation) -> tuple[Modulation, tuple[Tensor, ...] | None]:
        """`modulation` (K,) with the factors on its negatives, (G, K), and the rows' groups.

        Columns from C on keep their weight. A single group needs no rows: (K,) and None.
        """
        weight = modulation.negative_weight
        factor = functional.pad(self.factor, (0, len(weight) - self.factor.shape[1]), value=1)
        if len(factor) == 1:
            return modulation._replace(negative_weight=weight * factor[0]), None
        return modulation._replace(negative_weight=weight * factor), self.rows


class RowPolicy(Protocol):
    """A policy."""

    needs_logits: bool
    """Whether it looks at the logits, which a fused head does not have."""

    def __call__(self, labels: Sequence[Tensor], logits: Sequence[Tensor] | None) -> Groups:
        """Groups of the rows.

        Args:
            labels: (N,) in [0, C), or BACKGROUND, or IGNORE, for each matrix.
            logits: (N, K) for each matrix, without gradient; None unless `needs_logits`.
        """
        ...


def images_of_rows(checked: Tensor, labels: Sequence[Tensor]) -> Groups:
    """A group for every image: its negatives are the classes that were `checked` (B, C) there.

    Args:
        checked: bool; see `structures.Target`.
        labels: (N,) for each matrix, whose rows lie image after image, as many of each.
    """
    images = torch.arange(len(checked), device=checked.device)
    rows = (images.repeat_interleave(len(own) // len(checked)) for own in labels)
    return Groups(checked.float(), tuple(rows))


class TailDropping(nn.Module):
    """Rows with an object are no negatives of tail classes; background is.

    Source: Tan et al. 2020, Equalization loss for long-tailed object recognition, equation 4.

    Args:
        tail: (C,) bool.
    """

    needs_logits = False
    factor: Tensor

    def __init__(self, tail: Tensor) -> None:
        super().__init__()
        factor = torch.stack([torch.ones(len(tail)), (~tail).float()])
        self.register_buffer("factor", factor, persistent=False)

    def forward(self, labels: Sequence[Tensor], logits: Sequence[Tensor] | None = None) -> Groups:
        """See `RowPolicy`."""
        return Groups(self.factor, tuple((own >= 0).long() for own in labels))


class Seesaw(nn.Module):
    """An object of class y punishes class j less where j is rarer, more where it outscores y.

    Factor M C with M = (n_j / n_y)^mitigation where n_j < n_y, else 1, and C = (s_j / s_y) to the
    power `compensation` where s_j > s_y, else 1. Background punishes every class as ever.

    Source: Wang et al. 2021, Seesaw loss for long-tailed instance segmentation, equations 5 and 6,
    where s is the softmax; here the logits' sigmoid. The counts n are those of the training data.

    Args:
        counts: (C,) n, at least 1.
        mitigation: exponent p; 0 for none.
        compensation: exponent q; 0 for none, and then logits are not needed.
        smallest_score: s_y counts as at least this much.
    """

    counts: Tensor

    def __init__(
        self,
        counts: Tensor,
        *,
        mitigation: float = 0.8,
        compensation: float = 2.0,
        smallest_score: float = 0.01,
    ) -> None:
        super().__init__()
        self.mitigation = mitigation
        self.compensation = compensation
        self.smallest_score = smallest_score
        self.needs_logits = compensation > 0
        self.register_buffer("counts", counts.float(), persistent=False)

    def forward(self, labels: Sequence[Tensor], logits: Sequence[Tensor] | None = None) -> Groups:
        """See `RowPolicy`; one group for background, one for every class or every object's row."""
        everything = self.counts.new_ones(1, len(self.counts))
        if not self.needs_logits:
            classes = torch.arange(len(self.counts), device=self.counts.device)
            factor = torch.cat([everything, self._mitigation(classes)])
            return Groups(factor, tuple(own.clamp(min=-1) + 1 for own in labels))
        assert logits is not None, "compensation looks at the logits"
        positives = [(own >= 0).nonzero().squeeze(1) for own in labels]
        found = torch.cat([own[index] for own, index in zip(labels, positives, strict=True)])
        chosen = torch.cat([own[index] for own, index in zip(logits, positives, strict=True)])
        factor = self._mitigation(found) * self._compensation(found, chosen.float())
        rows, first = [], 1
        for own, index in zip(labels, positives, strict=True):
            row = torch.zeros_like(own)
            row[index] = torch.arange(first, first + len(index), device=own.device)
            rows.append(row)
            first += len(index)
        return Groups(torch.cat([everything, factor]), tuple(rows))

    def _mitigation(self, labels: Tensor) -> Tensor:
        """(P, C) of objects of these classes (P,)."""
        return (self.counts / self.counts[labels, None]).clamp(max=1) ** self.mitigation

    def _compensation(self, labels: Tensor, logits: Tensor) -> Tensor:
        """(P, C) of objects of these classes (P,) with `logits` (P, K)."""
        scores = logits[:, : len(self.counts)].sigmoid()
        own = scores.gather(1, labels[:, None]).clamp(min=self.smallest_score)
        return (scores / own).clamp(min=1) ** self.compensation


class SampledClasses(nn.Module):
    """Negatives of the classes in the batch and of some others, drawn anew in every call.

    The others are drawn without replacement, with probabilities proportional to `chance`, until
    there are `num_classes` with those in the batch; background counts as one of them. Every process
    and every micro-batch draws by itself.

    Source: Zhou et al. 2021, Probabilistic two-stage detection (federated loss); as in detectron2.

    Args:
        chance: (C,) such as the square root of image counts.
        num_classes: how many.
    """

    needs_logits = False
    chance: Tensor

    def __init__(self, chance: Tensor, num_classes: int = 50) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.register_buffer("chance", chance.float(), persistent=False)

    def forward(self, labels: Sequence[Tensor], logits: Sequence[Tensor] | None = None) -> Groups:
        """See `RowPolicy`; one group."""
        everything = torch.cat(tuple(labels))
        present = torch.zeros(len(self.chance) + 2, dtype=torch.bool, device=everything.device)
        present[everything.clamp(min=-2)] = True  # background and ignore come last
        own, has_background = present[:-2], present[-1]
        # The largest of log(chance) + Gumbel noise are draws without replacement.
        noise = torch.empty_like(self.chance).exponential_()
        # processes begin with the same random numbers, and should not draw the same classes
        keys = self.chance.log() - noise.roll(distributed.rank()).log()
        keys = torch.where(own, torch.inf, keys)
        drawn = keys.topk(min(self.num_classes, len(keys))).indices
        chosen = torch.zeros_like(own)
        chosen[drawn] = True
        if len(keys) >= self.num_classes:  # background takes the last place
            last = drawn[-1]
            chosen[last] = ~has_background | own[last]
        rows = tuple(torch.zeros_like(own_labels) for own_labels in labels)
        return Groups((chosen | own).float()[None], rows)
