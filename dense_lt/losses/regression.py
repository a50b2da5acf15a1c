"""What a wrongly placed box costs: positives only."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from dense_lt.ops.boxes import generalized_box_iou_loss
from dense_lt.utils.distributed import mean_over_processes, normalizer_over_processes


class BoxLoss(Protocol):
    """Cost of decoded boxes against their ground truth."""

    def __call__(
        self, boxes: Tensor, truth: Tensor, iou: Tensor, weights: Tensor, normalizer: Tensor
    ) -> Tensor:
        """Scalar, weighted.

        Args:
            boxes: (P, 4) predicted, with gradient.
            truth: (P, 4).
            iou: (P,) IoU of the two, without gradient; 0 where the weight is.
            weights: (P,) 1 for positives, 0 for rows that only fill up.
            normalizer: () positives per process in the whole optimizer step.
        """
        ...


class GIoUBoxLoss(NamedTuple):
    """Generalised IoU loss, mean over positives or weighted by their IoU.

    Weighted, a positive counts by the IoU it has reached, and the sum is divided by the sum of
    these weights (averaged over processes, in all at least 1), as in the improved baseline of Li et
    al. 2022. A micro-batch counts by its share of the positives of the whole batch; that equals
    the whole batch only in the unweighted form, because the weights depend on predictions that
    the other micro-batches have not made yet. 0 with a gradient when there are no positives.

    Source: Rezatofighi et al. 2019.
    """

    weight: float = 1.0
    iou_weighted: bool = True

    def __call__(
        self, boxes: Tensor, truth: Tensor, iou: Tensor, weights: Tensor, normalizer: Tensor
    ) -> Tensor:
        """See `BoxLoss`."""
        losses = generalized_box_iou_loss(boxes, truth)
        if not self.iou_weighted:
            return self.weight * (losses * weights).sum() / normalizer
        share = mean_over_processes(weights.sum()) / normalizer
        return self.weight * share * (losses * iou).sum() / normalizer_over_processes(iou.sum())
