"""Seesaw loss: rarer classes are punished less, classes that outscore the right one more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dense_lt.balance.statistics import GradientStatistics, of_plain_sums
from dense_lt.losses.regions.base import mean_ratios, note_softmax, refuse_priors
from dense_lt.utils.distributed import sum_over_processes


class SeesawLoss(nn.Module):
    """Softmax over the C classes, of objects only, and a softmax over two objectness logits.

    An object of class y adds ln(M C) to the logit of every other class j, with M = (n_j / n_y)^p
    where n_j < n_y, else 1, and C = (s_j / s_y)^q where s_j > s_y, else 1; s is the softmax over
    the classes, without gradient. The logits are those of the classes, then "object", "no object".
    A score is that of the class times that of "object".

    Source: Wang et al. 2021, Seesaw loss for long-tailed instance segmentation, equations 2 to 7,
    and its code, from which are the order, the floors, and that n counts regions before they are
    used. The code counts in every process for itself; here all processes count together.

    Args:
        statistics: tracker of the C classes.
        weight: factor of the loss.
        mitigation: p; 0 for none.
        compensation: q; 0 for none.
        counts: (C,) n of the training data; None counts the regions of training.
        smallest_score: s_y counts as at least this much.
        objectness: whether there are its two logits; without, every row has a class.
    """

    counts: Tensor

    def __init__(
        self,
        statistics: GradientStatistics,
        *,
        weight: float = 1.0,
        mitigation: float = 0.8,
        compensation: float = 2.0,
        counts: Tensor | None = None,
        smallest_score: float = 0.01,
        objectness: bool = True,
    ) -> None:
        super().__init__()
        self.statistics = statistics
        self.weight = weight
        self.mitigation = mitigation
        self.compensation = compensation
        self.smallest_score = smallest_score
        self.counts_regions = counts is None
        self.num_classes = statistics.num_classes
        self.num_logits = self.num_classes + 2 * int(objectness)
        if counts is None:
            counts = torch.zeros(self.num_classes)
        self.register_buffer("counts", counts.double(), persistent=self.counts_regions)

    def forward(self, logits: Tensor, labels: Tensor, normalizer: Tensor) -> Tensor:
        """See `RegionClassificationLoss`."""
        rows = (labels >= 0).nonzero().squeeze(1)
        classes, objectness = self._split(logits)
        own = labels[rows]
        if self.counts_regions and logits.requires_grad:
            self.counts += sum_over_processes(
                torch.zeros_like(self.counts).index_add(0, own, torch.ones_like(own).double())
            )
        adjusted = classes[rows] + self._log_factor(classes[rows].detach(), own)
        log_probabilities = adjusted.log_softmax(dim=-1)
        loss = functional.nll_loss(log_probabilities, own, reduction="sum")
        if objectness is not None:
            loss = loss + functional.cross_entropy(objectness, (labels < 0).long(), reduction="sum")
        if logits.requires_grad:
            probabilities = log_probabilities.detach().exp()
            note_softmax(self.statistics, probabilities, own, weight=of_plain_sums())
        return self.weight * loss / normalizer

    def _log_factor(self, logits: Tensor, labels: Tensor) -> Tensor:
        """ln(M C) (P, C) of objects of classes `labels` (P,) with `logits` (P, C); 0 at y."""
        counts = self.counts.to(logits.dtype).clamp(min=1).log()
        factor = self.mitigation * (counts - counts[labels, None]).clamp(max=0)
        scores = logits.softmax(dim=-1)
        own = scores.gather(1, labels[:, None]).clamp(min=self.smallest_score)
        factor = factor + self.compensation * (scores / own).clamp(min=1).log()
        return factor.scatter(1, labels[:, None], 0.0)

    def scores(self, logits: Tensor) -> Tensor:
        """See `RegionClassificationLoss`."""
        classes, objectness = self._split(logits.float())
        scores = classes.softmax(dim=-1)
        return scores if objectness is None else scores * objectness.softmax(dim=-1)[..., :1]

    def _split(self, logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """(..., C) of the classes, and (..., 2) of objectness if there is such."""
        pair = logits[..., self.num_classes :]
        return logits[..., : self.num_classes], pair if pair.shape[-1] else None

    def initial_bias(self, prior: float | None, objectness: float | None) -> Tensor:
        """See `RegionClassificationLoss`."""
        refuse_priors("a softmax", prior, objectness)
        return torch.zeros(self.num_logits)

    def summary(self, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """See `mean_ratios`."""
        return mean_ratios(self.statistics, groups)
