"""Loss, gradient and class sums in one pass of plain tensor operations over chunks of rows.

Every temporary is a scratch buffer of one chunk that stays in the cache, so the logits are read
once, the gradient is written once, and nothing else of their size exists.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dense_lt.ops.matching import IGNORE
from dense_lt.ops.sigmoid_loss.arguments import Modulation, Rows, Totals, compute_dtype
from dense_lt.ops.sigmoid_loss.formulas import matched_terms

CHUNK_ROWS = 256
"""Rows at a time; from 128 to 1024 the time is the same within a few percent."""

_LOG2_E = math.log2(math.e)
_LARGEST_SOFTPLUS = 1e30
"""Times gamma this is still finite in float32, so that a gradient never becomes inf x 0."""

_SMALLEST_EXPONENT = -120.0
"""2 to this power is a normal number in float32; arithmetic on denormal ones is far slower."""


class _SortedRows(NamedTuple):
    """Row numbers in rising order, and where each chunk's begin in them."""

    rows: Tensor
    starts: list[int]

    @classmethod
    def where(cls, chosen: Tensor, chunk_rows: int) -> _SortedRows:
        rows = chosen.nonzero().squeeze(1)
        edges = torch.arange(0, len(chosen) + chunk_rows, chunk_rows, device=rows.device)
        return cls(rows, torch.searchsorted(rows, edges).tolist())

    def of_chunk(self, chunk: int) -> slice:
        return slice(self.starts[chunk], self.starts[chunk + 1])


def chunked_loss(
    logits: Tensor,
    rows: Rows,
    modulation: Modulation,
    totals: Totals,
    *,
    scale: Tensor,
    gradient: Tensor | None,
    chunk_rows: int = CHUNK_ROWS,
) -> None:
    """A `Backend` for a CPU; see `Backend.__call__`. Waits for the device where that is not a CPU.

    Every entry is taken for a negative, but for the at most N positive ones, which are blanked out
    of the dense pass and done apart. Subtracting their negative part afterwards instead would leave
    rounding errors many times the true sum of a column of easy negatives.
    """
    shape = modulation.to(compute_dtype(logits))
    positives = _SortedRows.where(rows.labels >= 0, chunk_rows)
    ignored = _SortedRows.where(rows.labels == IGNORE, chunk_rows)
    labels = rows.labels[positives.rows]
    quality = None if rows.quality is None else rows.quality[positives.rows]
    # read before the loop, which may overwrite the logits
    matched = matched_terms(
        logits[positives.rows, labels].to(shape.gamma.dtype),
        None if quality is None else quality.to(shape.gamma.dtype),
        shape.gamma[labels],
        shape.positive_weight[labels],
    )
    totals.positive.index_add_(0, labels, matched.gradient.abs().double())
    totals.loss.add_(matched.loss.sum(dtype=torch.float64))

    pad = _Scratchpad(logits, shape, min(chunk_rows, len(logits)))
    for chunk, start in enumerate(range(0, len(logits), chunk_rows)):
        stop = min(start + chunk_rows, len(logits))
        own = positives.of_chunk(chunk)
        slope = pad.negatives(
            logits[start:stop],
            totals,
            groups=None if rows.groups is None else rows.groups[start:stop],
            ignored=ignored.rows[ignored.of_chunk(chunk)] - start,
            blank=(positives.rows[own] - start, labels[own]),
        )
        if gradient is not None:
            torch.mul(slope, scale, out=gradient[start:stop])
    if gradient is not None:
        gradient[positives.rows, labels] = (matched.gradient * scale).to(gradient.dtype)


class _Scratchpad:
    """Buffers of one chunk, and the arithmetic of its negative entries in them."""

    def __init__(self, logits: Tensor, modulation: Modulation, num_rows: int) -> None:
        dtype = compute_dtype(logits)
        self.modulation = modulation
        self.exponent_factor = modulation.gamma * _LOG2_E
        self.one = torch.ones((), dtype=dtype, device=logits.device)
        size = (4 if logits.dtype != dtype else 3, num_rows, logits.shape[1])
        self.buffers = torch.empty(size, dtype=dtype, device=logits.device)

    def negatives(
        self,
        logits: Tensor,
        totals: Totals,
        *,
        groups: Tensor | None,
        ignored: Tensor,
        blank: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Add the sums of a chunk (n, C) to `totals`; its gradient (n, C), in a scratch buffer."""
        softplus, factor, spare, *converted = (buffer[: len(logits)] for buffer in self.buffers)
        values = converted[0].copy_(logits) if converted else logits
        # softplus(z) = max(z, 0) + log1p(exp(-|z|)); exp2 is three times as fast as exp on a CPU,
        # and log1p is six times as fast on [0, 1] as above
        torch.abs(values, out=softplus).mul_(-_LOG2_E).exp2_().log1p_()
        torch.clamp(values, min=0, max=_LARGEST_SOFTPLUS, out=factor)
        softplus.add_(factor)
        # weight q^gamma, where log q = z - softplus(z); it cancels for large z only, where it is 0
        torch.sub(values, softplus, out=factor).mul_(self.exponent_factor)
        factor.clamp_(min=_SMALLEST_EXPONENT, max=0).exp2_()
        factor.mul_(self._negative_weight(groups, spare))
        if len(ignored):
            factor[ignored] = 0
        if len(blank[0]):
            factor[blank] = 0
        totals.loss.add_(torch.dot(factor.view(-1), softplus.view(-1)))
        # times gamma (1 - q) softplus(z) + q
        torch.sigmoid(values, out=spare)
        slope = torch.lerp(softplus.mul_(self.modulation.gamma), self.one, spare, out=softplus)
        factor.mul_(slope)
        totals.negative.add_(factor.sum(0))
        return factor

    def _negative_weight(self, groups: Tensor | None, out: Tensor) -> Tensor:
        """(C,), or the (n, C) rows chosen by `groups`, in `out`."""
        if groups is None:
            return self.modulation.negative_weight
        return torch.index_select(self.modulation.negative_weight, 0, groups, out=out)
