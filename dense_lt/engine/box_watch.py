"""Do the boxes of the positives overlap their objects, or have they collapsed? Once a log line."""

from __future__ import annotations

import logging

from torch import Tensor, nn

from dense_lt.engine.writers import Metrics
from dense_lt.losses.regression import fades_with_iou
from dense_lt.models.dense_loss import DenseLoss

_logger = logging.getLogger(__name__)

ENOUGH_POSITIVES = 100
"""Positives over which a mean is judged: those of a single small batch say little."""

COLLAPSED_IOU = 0.05
FALLEN_TO = 0.25
"""Of the best mean so far. Small objects under large priors begin low too, but from there rise."""


class BoxWatch:
    """Mean IoU of the positives of the dense loss, and a warning when there is none left.

    A box loss that is weighted by IoU divides by the sum of the IoUs, at least 1 in a step. Below
    that, boxes without overlap cost nothing and have no gradient: they never come back, and the
    loss looks perfect.
    """

    def __init__(self, detector: nn.Module) -> None:
        """Find the dense loss of `detector`; a detector without one has nothing to watch."""
        losses = [module for module in detector.modules() if isinstance(module, DenseLoss)]
        self._losses = losses[:1]
        self._fades = any(fades_with_iou(loss.box) for loss in self._losses)
        self._best = 0.0
        self._iou, self._positives, self._steps = 0.0, 0.0, 0

    def take(self) -> dict[str, Tensor]:
        """Sums of this process since the last call, () float64 each, for `judge`."""
        for loss in self._losses:
            sums = loss.take_ious()
            if sums is not None:
                return {"iou": sums[0], "positives": sums[1]}
        return {}

    def judge(self, means: dict[str, float | None], *, steps: int, processes: int) -> Metrics:
        """`box_iou`, the mean over the positives of a line; warns once.

        Args:
            means: what `take` gave, for one step and process; is taken out of it.
            steps: of the line.
            processes: which all had them.
        """
        iou, positives = means.pop("iou", None), means.pop("positives", None)
        if iou is None or positives is None:
            return {}
        self._iou += iou * steps * processes
        self._positives += positives * steps * processes
        self._steps += steps
        if self._positives >= ENOUGH_POSITIVES:
            self._judge(self._iou / self._positives, self._iou / self._steps)
            self._iou, self._positives, self._steps = 0.0, 0.0, 0
        return {"box_iou": iou / positives if positives else None}

    def _judge(self, mean: float, weights: float) -> None:
        """`mean` IoU of enough positives, and their `weights`: the sum of the IoUs in a step."""
        self._best = max(self._best, mean)
        if not self._fades or mean >= min(COLLAPSED_IOU, FALLEN_TO * self._best) or weights >= 1:
            return
        self._fades = False  # told once
        _logger.warning(
            "boxes have collapsed: those of the positives overlap their objects with a mean IoU of "
            "%.4f (it was %.2f). model.box_loss.weighting: iou makes such boxes cost nothing, so "
            "the low box loss is no success, and the run does not recover. Start again with a "
            "lower optimizer.lr or a longer schedule.warmup; model.box_loss.weighting=none keeps a "
            "gradient where boxes do not overlap. docs/training.md says more.",
            mean,
            self._best,
        )
