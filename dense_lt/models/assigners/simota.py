"""Simplified optimal transport: each object takes as many priors as fit, at the least cost."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dense_lt.models.assigners.base import pieces
from dense_lt.models.assigners.forecast import Claims, Forecast, PredictionAssigner, row_pieces
from dense_lt.ops.boxes import box_iou, centers
from dense_lt.ops.matching import BACKGROUND
from dense_lt.structures import Priors

OUTSIDE = 1e5
"""Cost of a prior whose centre is not both inside an object and near its centre."""


class SimOtaAssigner(PredictionAssigner):
    """The k cheapest priors of an object learn it; k is the sum of its best IoUs, rounded down.

    A prior is a candidate when its centre lies inside an object or within `radius` strides of the
    object's centre. Its cost for an object is the binary cross-entropy of all classes, of the root
    of score times quality, plus `iou_weight` times -ln IoU of the predicted box, plus 100,000
    unless its centre lies inside this object and near its centre. k is at least 1 and counts the
    `top_k` best IoUs. A prior that several objects take goes to the object for which it is
    cheapest.

    Source: Ge et al. 2021 (YOLOX), section 2.1, and its code.
    """

    def __init__(self, *, radius: float = 2.5, top_k: int = 10, iou_weight: float = 3.0) -> None:
        """State the costs; see the class."""
        self.radius = radius
        self.top_k = top_k
        self.iou_weight = iou_weight

    @torch.no_grad()
    def __call__(self, priors: Priors, boxes: Tensor, labels: Tensor, forecast: Forecast) -> Claims:
        """See `PredictionAssigner`. Memory: that of `PAIRS_AT_ONCE` costs, whatever R and M."""
        matches = torch.full((len(priors.boxes),), BACKGROUND, device=boxes.device)
        rows = self._candidates(priors, boxes)
        if len(rows) == 0:
            return Claims(matches)
        push = _push(rows, forecast)
        cheapest = torch.full_like(push, math.inf)
        nearest = torch.zeros_like(rows)
        claims, claimant = torch.zeros_like(rows), torch.zeros_like(rows)
        for start, some in pieces(boxes, len(rows)):
            own = labels[start : start + len(some)]
            cost, iou = self._costs(priors, rows, push, some, own, forecast)
            taken = _take(cost, iou, self.top_k)  # (n, m)
            claims += taken.sum(1)
            claimant = torch.where(taken.any(1), taken.int().argmax(1) + start, claimant)
            least, index = cost.min(dim=1)
            nearest = torch.where(least < cheapest, index + start, nearest)
            cheapest = torch.minimum(cheapest, least)
        objects = torch.where(claims > 1, nearest, claimant)
        matches[rows] = torch.where(claims > 0, objects, BACKGROUND)
        return Claims(matches)

    def _candidates(self, priors: Priors, boxes: Tensor) -> Tensor:
        """(n,) priors that may learn one of `boxes` (M, 4)."""
        possible = torch.zeros(len(priors.boxes), dtype=torch.bool, device=boxes.device)
        for _, some in pieces(boxes, len(possible)):
            inside, near = self._places(priors, slice(None), some)
            possible |= (inside | near).any(1)
        return possible.nonzero().squeeze(1)

    def _places(self, priors: Priors, rows: Tensor | slice, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Whether the centres of `rows` lie inside of `boxes` (m, 4), and near their centres."""
        points = centers(priors.boxes[rows])[:, None]  # (n, 1, 2)
        strides = torch.tensor(priors.strides, device=boxes.device).repeat_interleave(
            torch.tensor(priors.counts, device=boxes.device)
        )
        sides = torch.cat([points - boxes[:, :2], boxes[:, 2:] - points], dim=-1)
        reach = self.radius * strides[rows, None]
        return sides.amin(-1) > 0, (points - centers(boxes)).abs().amax(-1) < reach

    def _costs(
        self,
        priors: Priors,
        rows: Tensor,
        push: Tensor,
        boxes: Tensor,
        labels: Tensor,
        forecast: Forecast,
    ) -> tuple[Tensor, Tensor]:
        """Costs and IoUs (n, m) of `rows` for the objects `boxes` (m, 4)."""
        iou = box_iou(forecast.boxes[rows], boxes)
        scores = forecast.scores(rows, labels)  # (n, m)
        roots = (scores * forecast.quality[rows, None]).sqrt()
        cost = push[:, None] + _minus_log(roots) - _minus_log(1 - roots)
        cost = cost + self.iou_weight * -(iou + 1e-8).log()
        inside, near = self._places(priors, rows, boxes)
        return cost + OUTSIDE * ~(inside & near), iou


def _minus_log(values: Tensor) -> Tensor:
    return -values.log().clamp(min=-100)


def _push(rows: Tensor, forecast: Forecast) -> Tensor:
    """(n,) cross-entropy of all classes if `rows` were background."""
    costs = []
    for some in row_pieces(rows, forecast.scores.num_classes):
        roots = (forecast.scores(some) * forecast.quality[some, None]).sqrt()
        costs.append(_minus_log(1 - roots).sum(1))
    return torch.cat(costs)


def _take(cost: Tensor, iou: Tensor, top_k: int) -> Tensor:
    """(n, m) bool: the cheapest rows of every object, as many as its best IoUs add up to."""
    best = iou.topk(min(top_k, len(iou)), dim=0).values
    wanted = best.sum(0).int().clamp(min=1)  # (m,)
    most = int(wanted.max())
    order = cost.topk(most, dim=0, largest=False).indices  # (most, m)
    counted = torch.arange(most, device=cost.device)[:, None] < wanted
    return torch.zeros_like(cost, dtype=torch.bool).scatter_(0, order, counted)
