"""What a wrongly placed box costs: positives only."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from torch import Tensor
from torch.nn import functional

from dense_lt.ops.box_coding import BoxCoder
from dense_lt.ops.boxes import centerness, centers, generalized_box_iou_loss
from dense_lt.utils.distributed import mean_over_processes, normalizer_over_processes

Weighting = Literal["none", "iou", "centerness"]
Divisor = Literal["weights", "positives"]


class PlacedBoxes(NamedTuple):
    """P boxes that were predicted, and where they should be."""

    codes: Tensor  # (P, 4) predicted, with gradient
    boxes: Tensor  # (P, 4) decoded from `codes`, with gradient
    priors: Tensor  # (P, 4)
    truth: Tensor  # (P, 4)
    iou: Tensor  # (P,) of `boxes` with `truth`, without gradient; 0 where the weight is
    weights: Tensor  # (P,) 1 for positives, 0 for rows that only fill up


class BoxLoss(Protocol):
    """Cost of predicted boxes against their ground truth."""

    def __call__(self, placed: PlacedBoxes, normalizer: Tensor) -> Tensor:
        """Scalar, weighted; `normalizer` (): positives per process in the optimizer step."""
        ...


class GIoUBoxLoss(NamedTuple):
    """Generalised IoU loss of the decoded boxes; see `mean_cost` for the mean over positives.

    Source: Rezatofighi et al. 2019.
    """

    weight: float = 1.0
    weighting: Weighting = "iou"
    divide_by: Divisor = "weights"

    def __call__(self, placed: PlacedBoxes, normalizer: Tensor) -> Tensor:
        """See `BoxLoss`."""
        costs = generalized_box_iou_loss(placed.boxes, placed.truth)
        return self.weight * mean_cost(costs, placed, normalizer, self.weighting, self.divide_by)


class SmoothL1BoxLoss(NamedTuple):
    """Smooth L1 loss of the codes, summed over the four; `beta` 0 is L1.

    Source: Girshick 2015 (Fast R-CNN), equation 3, broken at `beta` as in RetinaNet.
    """

    coder: BoxCoder
    beta: float = 0.11
    weight: float = 1.0
    weighting: Weighting = "none"
    divide_by: Divisor = "weights"

    def __call__(self, placed: PlacedBoxes, normalizer: Tensor) -> Tensor:
        """See `BoxLoss`."""
        wanted = self.coder.encode(placed.truth, placed.priors)
        costs = functional.smooth_l1_loss(
            placed.codes.to(wanted.dtype), wanted, reduction="none", beta=self.beta
        ).sum(dim=-1)
        return self.weight * mean_cost(costs, placed, normalizer, self.weighting, self.divide_by)


class SumOfBoxLosses(NamedTuple):
    """Several losses of the same boxes."""

    losses: tuple[BoxLoss, ...]

    def __call__(self, placed: PlacedBoxes, normalizer: Tensor) -> Tensor:
        """See `BoxLoss`."""
        total = placed.boxes.new_zeros(())
        for loss in self.losses:
            total = total + loss(placed, normalizer)
        return total


def fades_with_iou(loss: BoxLoss) -> bool:
    """Whether boxes that overlap nothing cost nothing: weighted by IoU, without another term.

    The sum of the weights, by which the cost is divided, counts as at least 1 (see `mean_cost`).
    """
    if isinstance(loss, SumOfBoxLosses):
        return all(fades_with_iou(part) for part in loss.losses)
    return getattr(loss, "weighting", None) == "iou"


def mean_cost(
    costs: Tensor,
    placed: PlacedBoxes,
    normalizer: Tensor,
    weighting: Weighting,
    divide_by: Divisor,
) -> Tensor:
    """Mean of `costs` (P,) over positives, or weighted by their IoU or centerness: ().

    Weighted, the sum is divided by the sum of the weights (averaged over processes, in all at least
    1), as in the improved baseline of Li et al. 2022 and the authors' code of FCOS and ATSS, or by
    the number of positives. In the first form a micro-batch counts by its share of the positives of
    the whole batch; that equals the whole batch only where the weights add up alike, because those
    of the other micro-batches are not known yet. 0 with a gradient when there are no positives.
    """
    match weighting:
        case "none":
            weights = placed.weights
        case "iou":
            weights = placed.iou
        case "centerness":
            weights = centerness(centers(placed.priors), placed.truth) * placed.weights
    total = (costs * weights).sum()
    if weighting == "none" or divide_by == "positives":
        return total / normalizer
    share = mean_over_processes(placed.weights.sum()) / normalizer
    return share * total / normalizer_over_processes(weights.sum())
