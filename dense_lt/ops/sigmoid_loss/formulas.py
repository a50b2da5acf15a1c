"""What does one entry of the sigmoid loss family cost, and what is the derivative of that cost?

Notation: z logit, q = sigmoid(z), softplus(z) = -log(1 - q), softplus(-z) = -log q. Class j has a
focusing exponent g and two weights. With y the IoU target of a positive and B = softplus(z) - y z:

    negative          l = w q^g softplus(z)        dl/dz =  w q^g [g (1-q) softplus(z) + q]
    positive          l = w (1-q)^g softplus(-z)   dl/dz = -w (1-q)^g [g q softplus(-z) + (1-q)]
    quality positive  l = w |q-y|^g B              dl/dz =  w sign(q-y) |q-y|^(g-1)
                                                            [g q (1-q) B + (q-y)^2]
    varifocal         l = w y B                    dl/dz =  w y (q-y)

The brackets are never negative, so the sign of a derivative is known without its value. Everything
is evaluated from exp(-|z|): no logarithm of a probability, no 1 - p, no power of a rounded zero
appears, and the results are finite for every finite logit.

Source: focal loss (Lin et al. 2017), equalized focal loss (Li et al. 2022), equalization loss v2
(Tan et al. 2021), quality focal loss (Li et al. 2020), varifocal loss (Zhang et al. 2021); the
weights and exponents are constants for
the derivative in all of them, the factor |q-y|^g is not.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Terms(NamedTuple):
    """Cost and derivative of entries; both of the entries' shape."""

    loss: Tensor
    gradient: Tensor


class _Sigmoid(NamedTuple):
    """sigmoid(z), its complement and log(1 + exp(-|z|)), each to full relative precision."""

    value: Tensor
    complement: Tensor
    log_term: Tensor


def _sigmoid(logits: Tensor) -> _Sigmoid:
    decay = torch.exp(-logits.abs())
    near = 1 / (1 + decay)  # of the side the logit is on
    far = decay * near
    positive = logits >= 0
    return _Sigmoid(
        torch.where(positive, near, far), torch.where(positive, far, near), torch.log1p(decay)
    )


def negative_terms(logits: Tensor, gamma: Tensor, weight: Tensor) -> Terms:
    """Entries whose target is 0. All arguments floating and broadcastable; no reduction."""
    q, complement, log_term = _sigmoid(logits)
    softplus = logits.clamp(min=0) + log_term
    log_q = logits.clamp(max=0) - log_term
    factor = weight * torch.exp(gamma * log_q)
    return Terms(factor * softplus, factor * (gamma * complement * softplus + q))


def positive_terms(logits: Tensor, gamma: Tensor, weight: Tensor) -> Terms:
    """Entries whose target is 1: a negative entry seen from the other side."""
    loss, gradient = negative_terms(-logits, gamma, weight)
    return Terms(loss, -gradient)


def quality_terms(logits: Tensor, quality: Tensor, gamma: Tensor, weight: Tensor) -> Terms:
    """Positive entries whose target is an IoU, `quality` in [0, 1], instead of 1."""
    q, complement, log_term = _sigmoid(logits)
    # softplus(z) - y z and q - y, written so that neither cancels for large logits
    entropy = (1 - quality) * logits.clamp(min=0) + quality * (-logits).clamp(min=0) + log_term
    difference = torch.where(logits >= 0, (1 - quality) - complement, q - quality)
    distance = difference.abs()
    # at distance 0 the bracket below is g q (1-q) B and only its limit 0 is meant, also for g < 1
    power = torch.where(distance > 0, distance.pow(gamma - 1), 0)
    slope = gamma * q * complement * entropy + distance.square()
    return Terms(weight * distance.pow(gamma) * entropy, weight * difference.sign() * power * slope)


def matched_terms(
    logits: Tensor,
    quality: Tensor | None,
    gamma: Tensor,
    weight: Tensor,
    *,
    varifocal: bool = False,
) -> Terms:
    """Positive entries, with an IoU target where there is one."""
    if quality is None:
        return positive_terms(logits, gamma, weight)
    if varifocal:
        return quality_terms(logits, quality, torch.zeros_like(gamma), weight * quality)
    return quality_terms(logits, quality, gamma, weight)
