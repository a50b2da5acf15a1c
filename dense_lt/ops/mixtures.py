"""Mixtures of two normal distributions, many small ones at once."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

LEAST_VARIANCE = 1e-6
"""Added to every variance, so that equal values have a density."""


class Mixture(NamedTuple):
    """Two components for each of M sets of values."""

    weights: Tensor  # (M, 2)
    means: Tensor  # (M, 2)
    variances: Tensor  # (M, 2)

    def log_densities(self, values: Tensor) -> Tensor:
        """Log of weight x density of `values` (M, n) under each component: (M, n, 2)."""
        weights, means, variances = (parameter[:, None] for parameter in self)  # (M, 1, 2)
        squares = (values[..., None] - means) ** 2 / variances
        return weights.log() - (squares + variances.log() + math.log(2 * math.pi)) / 2


def fit_two_components(
    values: Tensor, counts: Tensor, *, tolerance: float = 1e-3, max_steps: int = 100
) -> Mixture:
    """Maximum likelihood by expectation maximisation, in float64.

    It starts at the least and the greatest value, with weights 1/2 and variances 1, and a set
    stops where its mean log likelihood grows by less than `tolerance`: the settings of PAA.

    Args:
        values: (M, n); of row i the first `counts[i]` are meant, which is at least 1.
        counts: (M,) int64.
        tolerance: see above.
        max_steps: see above.

    Source: Kim and Lee 2020 (PAA), section 3.2.
    """
    values = values.double()
    meant = torch.arange(values.shape[1], device=values.device) < counts[:, None]  # (M, n)
    low = values.masked_fill(~meant, math.inf).amin(1)
    high = values.masked_fill(~meant, -math.inf).amax(1)
    values = values.masked_fill(~meant, 0.0)
    means = torch.stack([low, high], dim=1)
    mixture = Mixture(torch.full_like(means, 0.5), means, torch.ones_like(means))
    running = torch.ones_like(counts, dtype=torch.bool)
    bound = torch.full_like(low, -math.inf)
    for _ in range(max_steps):
        if not running.any():
            break
        logs = mixture.log_densities(values)
        totals = logs.logsumexp(dim=-1)
        new_bound = (totals * meant).sum(1) / counts
        shares = (logs - totals[..., None]).exp() * meant[..., None]  # (M, n, 2)
        better = _most_likely(values, shares, counts)
        mixture = Mixture(
            *(
                torch.where(running[:, None], new, old)
                for new, old in zip(better, mixture, strict=True)
            )
        )
        running &= (new_bound - bound).abs() >= tolerance
        bound = new_bound
    return mixture


def _most_likely(values: Tensor, shares: Tensor, counts: Tensor) -> Mixture:
    """The mixture that fits `values` (M, n) best when `shares` (M, n, 2) belong to each part."""
    sizes = shares.sum(1) + 10 * torch.finfo(shares.dtype).eps  # (M, 2)
    means = (shares * values[..., None]).sum(1) / sizes
    squares = (shares * (values[..., None] - means[:, None]) ** 2).sum(1) / sizes
    weights = sizes / sizes.sum(1, keepdim=True)
    return Mixture(weights, means, squares + LEAST_VARIANCE)
