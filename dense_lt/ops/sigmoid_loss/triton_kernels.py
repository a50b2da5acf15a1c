"""The one pass over the logits as Triton kernels; `triton_backend` launches them.

Three ideas make it run at the speed of memory:

*Super-rows.* With an odd number of classes rows begin at odd addresses, and the compiler would
access entry by entry. Seen as (N / 16, 16 C), every row begins 16 bytes aligned whatever C is, and
a column still has one class (column mod C) and one row within the super-row (column div C), so the
parameters of the classes and the column sums stay in registers over the whole loop.

*Positives apart.* `hide_positives` remembers each positive logit and writes HIDDEN in its place,
whose loss and gradient are exactly 0, so that the dense pass needs no select per entry;
`triton_positives` writes their gradient and puts the logits back. Not -inf, which times an exponent
of 0 would be NaN. Nobody waits for the device.

*Base 2.* With softplus and the power in base-2 logarithms an entry takes three exponentials, one
polynomial and no division.

Nothing is summed by floating-point atomics: column sums go to slots that a program owns, positive
gradients are added as integers, so a result is the same bit for bit in every run.
"""

# pyright: reportMissingParameterType=false, reportGeneralTypeIssues=false
# Parameters of kernels are pointers and numbers, typed by Triton when it compiles.

from __future__ import annotations

import triton
import triton.language as tl

ROWS_PER_SUPER = 16
"""Rows of a super-row: 16 entries of two bytes, any number of times C, are 16 bytes aligned."""

SUPERS_PER_PROGRAM = 64
"""Of `hide_positives`, which visits one entry per row."""

HIDDEN = tl.constexpr(-1e4)
LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
_IGNORE = tl.constexpr(-2)  # dense_lt.ops.matching.IGNORE; kernels see constexpr globals only


@triton.jit
def _exp2(x, APPROXIMATE: tl.constexpr):
    if APPROXIMATE:  # one instruction instead of five: results below 2^-126 become 0
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=r,r", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        return tl.exp2(x)


@triton.jit
def _log2_1p(e, DEGREE: tl.constexpr):
    """log2(1 + e) on [0, 1]; minimax polynomials of relative error 1e-6 (6) and 2e-7 (7)."""
    if DEGREE == 6:
        p = 2.040118528e-02 * e - 9.579754888e-02
        p = p * e + 2.152845460e-01
        p = p * e - 3.390890291e-01
        p = p * e + 4.776683787e-01
        p = p * e - 7.211594744e-01
        p = p * e + 1.442693211e00
    else:
        p = -1.231947399e-02 * e + 6.360789369e-02
        p = p * e - 1.553518741e-01
        p = p * e + 2.560097187e-01
        p = p * e - 3.533948275e-01
        p = p * e + 4.800636965e-01
        p = p * e - 7.213100882e-01
        p = p * e + 1.442694761e00
    return p * e


@triton.jit
def _negative_terms(
    z, gamma, gamma_ln2, log2_weight, APPROXIMATE: tl.constexpr, DEGREE: tl.constexpr
):
    """Gradient, and loss / ln 2, of negative entries with weight 2^log2_weight."""
    u = z * LOG2_E
    e = _exp2(-tl.abs(u), APPROXIMATE)
    softplus = tl.maximum(u, 0.0) + _log2_1p(e, DEGREE)  # in units of ln 2
    log2_q = u - softplus  # cancels for large z only, where q^gamma is 1
    q = _exp2(log2_q, APPROXIMATE)
    factor = _exp2(gamma * log2_q + log2_weight, APPROXIMATE)
    slope = gamma_ln2 * softplus
    return factor * ((slope - slope * q) + q), factor * softplus


@triton.jit
def _sum_supers(
    z_ptr,
    g_ptr,
    log2_weight_ptr,
    log2_weight,
    gamma,
    classes,
    sub_rows,
    columns,
    kept,
    valid_ptr,
    groups_ptr,
    first,
    num_supers,
    step,
    C,
    WIDTH,
    SOME_IGNORED: tl.constexpr,
    GROUPED: tl.constexpr,
    WRITE: tl.constexpr,
    APPROXIMATE: tl.constexpr,
    DEGREE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    """Gradient of every `step`-th block of super-rows; column sums of gradient and of loss."""
    gradient_sum = tl.zeros([BLOCK_COLUMNS], tl.float32)
    loss_sum = tl.zeros([BLOCK_COLUMNS], tl.float32)
    gamma_ln2 = gamma * LN_2
    for start in range(first, num_supers, step):
        supers = start + tl.arange(0, BLOCK_ROWS)
        inside = kept[None, :] & (supers < num_supers)[:, None]
        offsets = supers.to(tl.int64)[:, None] * WIDTH + columns[None, :]
        z = tl.load(z_ptr + offsets, mask=inside, other=HIDDEN).to(tl.float32)
        if GROUPED:
            rows = supers.to(tl.int64)[:, None] * 16 + sub_rows[None, :]
            group = tl.load(groups_ptr + rows, mask=inside, other=0)
            weight = tl.load(log2_weight_ptr + group * C + classes[None, :], mask=inside, other=0.0)
        else:
            weight = log2_weight[None, :]
        gradient, loss = _negative_terms(
            z, gamma[None, :], gamma_ln2[None, :], weight, APPROXIMATE, DEGREE
        )
        if SOME_IGNORED:
            bits = tl.load(valid_ptr + supers, mask=supers < num_supers, other=0)
            valid = ((bits[:, None] >> sub_rows[None, :]) & 1) != 0
            gradient = tl.where(valid, gradient, 0.0)
            loss = tl.where(valid, loss, 0.0)
        if WRITE:
            tl.store(g_ptr + offsets, gradient.to(g_ptr.dtype.element_ty), mask=inside)
        gradient_sum += tl.sum(gradient, 0)
        loss_sum += tl.sum(loss, 0)
    return gradient_sum, loss_sum


@triton.jit(do_not_specialize=["num_supers", "first_slot"])
def sum_negatives(
    z_ptr,
    g_ptr,
    gamma_ptr,
    log2_weight_ptr,
    valid_ptr,
    some_ignored_ptr,
    groups_ptr,
    sums_ptr,
    losses_ptr,
    num_supers,
    num_columns,
    first_slot,
    C,
    WIDTH,
    GROUPED: tl.constexpr,
    WRITE: tl.constexpr,
    APPROXIMATE: tl.constexpr,
    DEGREE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    """The dense pass: every entry is a negative. Grid: blocks of columns x programs along rows.

    z, g (num_supers, WIDTH) with WIDTH = 16 C, of which `num_columns` are there; gamma (C,);
    log2_weight (C,), or (G, C) if GROUPED; valid (num_supers,) int32, one bit per row;
    some_ignored (1,) int32; groups (16 num_supers,); sums (slots, WIDTH) float32 and losses
    (slots, column blocks) float64 are added to.
    """
    columns = tl.program_id(0) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    kept = columns < num_columns
    classes = columns % C
    sub_rows = columns // C
    gamma = tl.load(gamma_ptr + classes, mask=kept, other=0.0)
    log2_weight = gamma
    if not GROUPED:
        log2_weight = tl.load(log2_weight_ptr + classes, mask=kept, other=float("-inf"))
    first = tl.program_id(1) * BLOCK_ROWS
    step = tl.num_programs(1) * BLOCK_ROWS
    # the same for all programs: two loops, of which the usual one has no select per entry
    if tl.load(some_ignored_ptr) == 0:
        gradient_sum, loss_sum = _sum_supers(
            z_ptr, g_ptr, log2_weight_ptr, log2_weight, gamma, classes, sub_rows, columns, kept,
            valid_ptr, groups_ptr, first, num_supers, step, C, WIDTH, False, GROUPED, WRITE,
            APPROXIMATE, DEGREE, BLOCK_ROWS, BLOCK_COLUMNS,
        )  # fmt: skip
    else:
        gradient_sum, loss_sum = _sum_supers(
            z_ptr, g_ptr, log2_weight_ptr, log2_weight, gamma, classes, sub_rows, columns, kept,
            valid_ptr, groups_ptr, first, num_supers, step, C, WIDTH, True, GROUPED, WRITE,
            APPROXIMATE, DEGREE, BLOCK_ROWS, BLOCK_COLUMNS,
        )  # fmt: skip
    slot = first_slot + tl.program_id(1)
    sums = sums_ptr + slot.to(tl.int64) * WIDTH + columns
    tl.store(sums, tl.load(sums, mask=kept, other=0.0) + gradient_sum, mask=kept)
    loss = losses_ptr + slot * tl.num_programs(0) + tl.program_id(0)
    tl.store(loss, tl.load(loss) + LN_2 * tl.sum(loss_sum, 0).to(tl.float64))


@triton.jit(do_not_specialize=["num_rows"])
def hide_positives(
    z_ptr,
    labels_ptr,
    hidden_ptr,
    valid_ptr,
    some_ignored_ptr,
    num_rows,
    C,
    BLOCK: tl.constexpr,
):
    """Remember positive logits in hidden (N,), write HIDDEN instead; note which rows are valid."""
    supers = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    sub_rows = tl.arange(0, 16)
    rows = supers[:, None] * 16 + sub_rows[None, :]
    inside = rows < num_rows
    labels = tl.load(labels_ptr + rows, mask=inside, other=-1)
    ignored = inside & (labels == _IGNORE)
    valid = tl.sum((inside & (labels != _IGNORE)).to(tl.int32) << sub_rows[None, :], 1)
    tl.store(valid_ptr + supers, valid, mask=supers * 16 < num_rows)
    if tl.max(tl.max(ignored.to(tl.int32), 1), 0) > 0:
        tl.store(some_ignored_ptr, 1)
    positive = inside & (labels >= 0)
    entries = z_ptr + rows.to(tl.int64) * C + labels
    z = tl.load(entries, mask=positive, other=0.0)
    tl.store(hidden_ptr + rows, z.to(tl.float32), mask=positive)
    tl.store(entries, tl.full(z.shape, HIDDEN, tl.float32).to(z.dtype), mask=positive)


@triton.jit(do_not_specialize=["size"])
def multiply(values_ptr, factor_ptr, size, BLOCK: tl.constexpr):
    """Multiply values (size,) by factor (1,); read nothing but the factor where that is 1."""
    factor = tl.load(factor_ptr).to(tl.float32)
    if factor != 1:
        offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = offsets < size
        values = tl.load(values_ptr + offsets, mask=inside)
        scaled = values.to(tl.float32) * factor
        tl.store(values_ptr + offsets, scaled.to(values.dtype), mask=inside)
