"""Probabilistic anchor assignment: the priors that already do well for an object learn it."""

from __future__ import annotations

import torch
from torch import Tensor

from dense_lt.models.assigners.forecast import (
    Claims,
    Forecast,
    PredictionAssigner,
    rank_in_group,
    row_pieces,
)
from dense_lt.models.assigners.max_iou import MaxIoUAssigner
from dense_lt.ops.boxes import generalized_box_iou_loss
from dense_lt.ops.matching import BACKGROUND
from dense_lt.ops.mixtures import fit_two_components
from dense_lt.structures import Priors


class PaaAssigner(PredictionAssigner):
    """Each object divides its candidates into good and bad ones by the loss they would have.

    Candidates have an IoU of at least `candidate_iou` with the object that they overlap most, or
    are the best of an object. Of each object and level the `top_k` with the least cost remain,
    focal loss over all classes plus GIoU loss of the predicted box. Two normal distributions are
    fitted to these costs; from the least cost to the most likely one within the lower component
    all are positive, the others background. A single candidate is positive.

    Source: Kim and Lee 2020 (PAA), section 3; figure 3 (c), as in the authors' code.
    """

    def __init__(
        self,
        *,
        candidate_iou: float = 0.1,
        top_k: int = 9,
        box_weight: float = 1.3,
        alpha: float = 0.25,
        gamma: float = 2.0,
    ) -> None:
        """State the costs.

        Args:
            candidate_iou: least IoU of a prior with its object.
            top_k: candidates per object and level.
            box_weight: factor on the GIoU loss.
            alpha: weight of positives in the focal loss.
            gamma: its exponent.
        """
        self.top_k = top_k
        self.box_weight = box_weight
        self.alpha = alpha
        self.gamma = gamma
        self._candidates = MaxIoUAssigner(positive_iou=candidate_iou, background_iou=candidate_iou)

    @torch.no_grad()
    def __call__(self, priors: Priors, boxes: Tensor, labels: Tensor, forecast: Forecast) -> Claims:
        """See `PredictionAssigner`. Memory: `MaxIoUAssigner`'s, and top_k x L x M costs."""
        nearest = self._candidates(priors, boxes)
        matches = torch.full_like(nearest, BACKGROUND)
        rows = (nearest >= 0).nonzero().squeeze(1)
        if len(rows) == 0:
            return Claims(matches)
        objects = nearest[rows]
        costs = self._costs(rows, labels[objects], boxes[objects], forecast)
        level_of = torch.arange(len(priors.counts), device=rows.device).repeat_interleave(
            torch.tensor(priors.counts, device=rows.device)
        )
        groups = objects * len(priors.counts) + level_of[rows]
        best = rank_in_group(costs, groups) < self.top_k
        rows, objects, costs = rows[best], objects[best], costs[best]
        positive = _good_ones(costs, objects)
        matches[rows[positive]] = objects[positive]
        return Claims(matches)

    def _costs(self, rows: Tensor, labels: Tensor, truth: Tensor, forecast: Forecast) -> Tensor:
        """(n,) loss that each of `rows` would have as positive of its object."""
        least = torch.finfo(truth.dtype).tiny
        costs = []
        start = 0
        for some in row_pieces(rows, forecast.scores.num_classes):
            own = labels[start : start + len(some), None]
            start += len(some)
            scores = forecast.scores(some)  # (m, C)
            push = (1 - self.alpha) * scores**self.gamma * -torch.log1p(-scores).clamp(min=-100)
            score = scores.gather(1, own)
            pull = self.alpha * (1 - score) ** self.gamma * -score.clamp(min=least).log()
            costs.append((push.sum(1, keepdim=True) - push.gather(1, own) + pull).squeeze(1))
        return torch.cat(costs) + self.box_weight * generalized_box_iou_loss(
            forecast.boxes[rows], truth
        )


def _good_ones(costs: Tensor, objects: Tensor) -> Tensor:
    """(n,) bool: which candidates, with `costs` (n,), are positives of their `objects` (n,)."""
    _, own, counts = torch.unique(objects, return_inverse=True, return_counts=True)
    rank = rank_in_group(costs, own)
    table = costs.new_zeros(len(counts), int(counts.max()))  # a row per object, cheapest first
    table[own, rank] = costs
    mixture = fit_two_components(table, counts)
    logs = mixture.log_densities(table.double())
    meant = torch.arange(table.shape[1], device=table.device) < counts[:, None]
    good = meant & (logs[..., 0] >= logs[..., 1])
    likelihood = logs.logsumexp(-1).masked_fill(~good, -torch.inf)
    until = torch.where(good.any(1), likelihood.argmax(1), -1)
    until = torch.where(counts == 1, 0, until)
    columns = torch.arange(table.shape[1], device=table.device)
    chosen = (good | (counts == 1)[:, None]) & (columns <= until[:, None])
    return chosen[own, rank]
