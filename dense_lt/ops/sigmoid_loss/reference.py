"""The formulas over the whole matrix at once: the oracle of the tests, and the float64 backend."""

from __future__ import annotations

import torch
from torch import Tensor

from dense_lt.ops.matching import IGNORE
from dense_lt.ops.sigmoid_loss.arguments import Modulation, Rows, Totals, compute_dtype
from dense_lt.ops.sigmoid_loss.formulas import matched_terms, negative_terms


def dense_loss(
    logits: Tensor,
    rows: Rows,
    modulation: Modulation,
    totals: Totals,
    *,
    scale: Tensor,
    gradient: Tensor | None,
) -> None:
    """A `Backend` of about ten temporaries of N x C; see `Backend.__call__`."""
    values = logits.to(compute_dtype(logits))
    gamma, positive_weight, negative_weight = modulation.to(values.dtype)
    if rows.groups is not None:
        negative_weight = negative_weight[rows.groups]  # (N, C)

    terms = negative_terms(values, gamma, negative_weight)
    ignored = (rows.labels == IGNORE)[:, None]
    loss, slope = (torch.where(ignored, 0, term) for term in terms)
    index = (rows.labels >= 0).nonzero().squeeze(1)
    label = rows.labels[index]
    loss[index, label] = 0
    slope[index, label] = 0
    totals.negative.add_(slope.sum(0, dtype=torch.float64))

    quality = None if rows.quality is None else rows.quality[index].to(values.dtype)
    matched = matched_terms(values[index, label], quality, gamma[label], positive_weight[label])
    slope[index, label] = matched.gradient
    totals.positive.index_add_(0, label, matched.gradient.abs().double())
    totals.loss.add_(loss.sum(dtype=torch.float64) + matched.loss.sum(dtype=torch.float64))
    if gradient is not None:
        gradient.copy_(slope * scale)
