"""The positive entries of the loss, one a row at most, as a Triton kernel."""

# pyright: reportMissingParameterType=false, reportGeneralTypeIssues=false
# Parameters of kernels are pointers and numbers, typed by Triton when it compiles.

from __future__ import annotations

import triton
import triton.language as tl

FIXED_POINT = tl.constexpr(2.0**40)
"""One, in the integer sums of positive gradient; they overflow at 8 million in one call."""


@triton.jit
def _log1p(e):
    """log(1 + e) for e in [0, 1], in full precision (the rounding of 1 + e is undone)."""
    u = 1 + e
    return tl.where(u == 1, e, tl.log(u) * (e / tl.where(u == 1, 1.0, u - 1)))


@triton.jit
def _positive_terms(z, y, gamma, weight, QUALITY: tl.constexpr):
    """Loss and gradient, as `formulas.positive_terms` and `formulas.quality_terms`."""
    e = tl.exp(-tl.abs(z))
    log_term = _log1p(e)
    near = 1 / (1 + e)
    far = e * near
    q = tl.where(z >= 0, near, far)
    complement = tl.where(z >= 0, far, near)
    if QUALITY:
        entropy = (1 - y) * tl.maximum(z, 0.0) + y * tl.maximum(-z, 0.0) + log_term
        difference = tl.where(z >= 0, (1 - y) - complement, q - y)
        distance = tl.abs(difference)
        log2_distance = tl.log2(tl.where(distance > 0, distance, 1.0))
        at_target = tl.where(gamma == 0, 1.0, 0.0)
        power = tl.where(distance > 0, tl.exp2(gamma * log2_distance), at_target)
        lower = tl.where(distance > 0, tl.exp2((gamma - 1) * log2_distance), 0.0)
        sign = tl.where(difference > 0, 1.0, -1.0)
        slope = gamma * q * complement * entropy + distance * distance
        return weight * power * entropy, weight * sign * lower * slope
    else:
        softplus = tl.maximum(-z, 0.0) + log_term
        log_complement = -(tl.maximum(z, 0.0) + log_term)
        factor = weight * tl.exp(gamma * log_complement)
        return factor * softplus, -factor * (gamma * q * softplus + complement)


@triton.jit(do_not_specialize=["num_rows"])
def finish_positives(
    z_ptr,
    g_ptr,
    labels_ptr,
    quality_ptr,
    hidden_ptr,
    gamma_ptr,
    weight_ptr,
    scale_ptr,
    positive_ptr,
    losses_ptr,
    num_rows,
    C,
    QUALITY: tl.constexpr,
    VARIFOCAL: tl.constexpr,
    WRITE: tl.constexpr,
    RESTORE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradient (WRITE), sums and loss of the positive entries; the logits put back (RESTORE).

    positive (C,) int64, in units of 1 / FIXED_POINT, and losses (programs,) float64 are added to.
    """
    scale = tl.load(scale_ptr)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(tl.program_id(0) * BLOCK, num_rows, tl.num_programs(0) * BLOCK):
        rows = start + tl.arange(0, BLOCK)
        labels = tl.load(labels_ptr + rows, mask=rows < num_rows, other=-1)
        positive = labels >= 0
        z = tl.load(hidden_ptr + rows, mask=positive, other=0.0)
        gamma = tl.load(gamma_ptr + labels, mask=positive, other=0.0)
        weight = tl.load(weight_ptr + labels, mask=positive, other=0.0)
        y = z
        if QUALITY:
            y = tl.load(quality_ptr + rows, mask=positive, other=0.0).to(tl.float32)
        if VARIFOCAL:
            gamma = gamma * 0.0
            weight = weight * y
        loss, gradient = _positive_terms(z, y, gamma, weight, QUALITY)
        total += tl.where(positive, loss, 0.0)
        units = (tl.abs(gradient).to(tl.float64) * FIXED_POINT).to(tl.int64)
        tl.atomic_add(positive_ptr + labels, units, mask=positive)
        entries = rows.to(tl.int64) * C + labels
        if RESTORE:
            tl.store(z_ptr + entries, z.to(z_ptr.dtype.element_ty), mask=positive)
        if WRITE:
            scaled = (gradient * scale).to(g_ptr.dtype.element_ty)
            tl.store(g_ptr + entries, scaled, mask=positive)
    slot = losses_ptr + tl.program_id(0)
    tl.store(slot, tl.load(slot) + tl.sum(total, 0).to(tl.float64))
