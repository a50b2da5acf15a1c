"""The formulas over the whole matrix at once: the oracle of the tests, and the float64 backend."""

from __future__ import annotations

import torch
from torch import Tensor

from dense_lt.ops.matching import IGNORE
from dense_lt.ops.sigmoid_loss.arguments import Modulation, Rows, Totals
from dense_lt.ops.sigmoid_loss.formulas import matched_terms, negative_terms


class DenseLoss:
    """An `Accumulator` with about ten temporaries of N x C."""

    def __init__(self, modulation: Modulation, scale: Tensor, *, varifocal: bool = False) -> None:
        self._modulation = modulation.to(scale.dtype)
        self._varifocal = varifocal
        self._scale = scale
        self._totals = Totals.zeros(len(modulation.gamma), scale.device)

    def add(self, logits: Tensor, rows: Rows, gradient: Tensor | None) -> None:
        """See `Accumulator`."""
        values = logits.to(self._scale.dtype)
        gamma, positive_weight, negative_weight = self._modulation
        if rows.groups is not None:
            negative_weight = negative_weight[rows.groups]  # (N, C)
        terms = negative_terms(values, gamma, negative_weight)
        ignored = (rows.labels == IGNORE)[:, None]
        loss, slope = (torch.where(ignored, 0, term) for term in terms)

        index = (rows.labels >= 0).nonzero().squeeze(1)
        label = rows.labels[index]
        quality = None if rows.quality is None else rows.quality[index].to(values.dtype)
        matched = matched_terms(
            values[index, label],
            quality,
            gamma[label],
            positive_weight[label],
            varifocal=self._varifocal,
        )
        slope[index, label] = 0
        self._totals.negative.add_(slope.sum(0, dtype=torch.float64))
        self._totals.positive.index_add_(0, label, matched.gradient.abs().double())
        loss[index, label] = matched.loss
        self._totals.loss.add_(loss.sum(dtype=torch.float64))
        if gradient is not None:
            slope[index, label] = matched.gradient
            gradient.copy_(slope * self._scale)

    def totals(self) -> Totals:
        """See `Accumulator`."""
        return self._totals
