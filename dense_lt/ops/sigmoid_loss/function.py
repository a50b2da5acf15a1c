"""The sigmoid loss family as one differentiable function: `modulated_sigmoid_loss`.

Focal loss, EFL, EQFL, EQL v2 and binary cross-entropy differ in three vectors (C,) only. The
gradient is made while the loss is computed; it is the only tensor of the logits' size besides them,
and the class sums of its absolute values come out of the same pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dense_lt.ops.sigmoid_loss.arguments import (
    Modulation,
    Rows,
    as_tuple,
    check_arguments,
    check_labels,
    rows_of,
    scale_tensor,
)
from dense_lt.ops.sigmoid_loss.backends import BackendName, choose_backend
from dense_lt.ops.sigmoid_loss.backward import keep_gradients, release_gradients
from dense_lt.ops.sigmoid_loss.compiled import sigmoid_loss


class LossSums(NamedTuple):
    """What one call found."""

    loss: Tensor  # () float32, differentiable, times `scale`
    positive: Tensor  # (C,) float64, sum of |dl/dlogit| over positive entries, without `scale`
    negative: Tensor  # (C,) float64, the same over negative entries


def modulated_sigmoid_loss(  # noqa: PLR0913 - three vectors describe the loss; a bundle would hide them
    logits: Tensor | Sequence[Tensor],
    labels: Tensor | Sequence[Tensor],
    *,
    gamma: Tensor,
    positive_weight: Tensor,
    negative_weight: Tensor,
    scale: Tensor | float = 1.0,
    quality: Tensor | Sequence[Tensor] | None = None,
    groups: Tensor | Sequence[Tensor] | None = None,
    varifocal: bool = False,
    overwrite_logits: bool = False,
    backend: BackendName = "auto",
) -> LossSums:
    """Sum over all entries of the loss of `formulas`, times `scale`.

    Args:
        logits: (N, C), or one such matrix per pyramid level: float32, bfloat16 or float64.
        labels: (N,) int64 in [0, C), or BACKGROUND (every class is a negative), or IGNORE (no
            loss, gradient or sums), for each matrix.
        gamma: (C,) focusing exponents, >= 0.
        positive_weight: (C,) weights of positive entries.
        negative_weight: (C,) weights of negative entries, or (G, C) together with `groups`.
        scale: loss weight / normaliser, above 0; a tensor () stays on its device.
        quality: (N,) IoU targets in [0, 1] of positives, for each matrix; None means 1 in the
            form of the plain focal loss.
        groups: (N,) int64 in [0, G), for each matrix: the row of `negative_weight` that holds for
            a row of logits, such as its image under federated annotation.
        varifocal: positives weigh by their quality, and are not focused.
        overwrite_logits: allow the gradient to be written into the logits' memory. Nothing else
            may read the logits afterwards, and what made them must not need them in its own
            backward pass (a convolution does not). Ignored under `torch.compile`.
        backend: who computes; `auto` takes `triton` on CUDA and `chunked` elsewhere, and
            `reference` in float64.

    Raises:
        TypeError: float16 logits.
        ValueError: shapes that do not fit together; overwriting a leaf.
        RuntimeError: in backward, on a second pass, a second derivative, or another use of
            overwritten logits.
    """
    matrices = tuple(matrix.contiguous() for matrix in as_tuple(logits))
    rows = rows_of(labels, quality, groups)
    modulation = Modulation(*(v.detach() for v in (gamma, positive_weight, negative_weight)))
    check_arguments(matrices, rows, modulation)
    problem = _Problem(
        rows=rows,
        modulation=modulation,
        scale=scale_tensor(scale, matrices[0]),
        backend=backend,
        varifocal=varifocal,
        wants_gradient=tuple(torch.is_grad_enabled() and m.requires_grad for m in matrices),
        overwrite=overwrite_logits,
    )
    if torch.compiler.is_compiling():
        return _by_operator(problem, matrices)
    for matrix, own, wanted in zip(matrices, rows, problem.wants_gradient, strict=True):
        check_labels(own.labels, len(gamma))
        if overwrite_logits and wanted:
            _forbid_other_uses(matrix)
    return LossSums(*_MadeInForward.apply(problem, *matrices))


@dataclass(frozen=True)
class _Problem:
    """Everything but the logits; one entry per matrix in the tuples."""

    rows: tuple[Rows, ...]
    modulation: Modulation
    scale: Tensor
    backend: BackendName
    varifocal: bool
    wants_gradient: tuple[bool, ...]
    overwrite: bool


class _MadeInForward(torch.autograd.Function):
    """The forward pass makes the gradients, the backward pass hands them out once."""

    @staticmethod
    def forward(ctx: Any, problem: _Problem, *matrices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gradients: list[Tensor | None] = []
        # autocast would run the products of the maths in bfloat16
        with torch.autocast(matrices[0].device.type, enabled=False):
            backend = choose_backend(problem.backend, matrices[0])
            accumulator = backend(problem.modulation, problem.scale, varifocal=problem.varifocal)
            for matrix, rows, wanted in zip(
                matrices, problem.rows, problem.wants_gradient, strict=True
            ):
                logits = matrix.detach()  # shares the version counter: overwriting is noticed
                gradient = None
                if wanted:
                    gradient = logits if problem.overwrite else torch.empty_like(logits)
                accumulator.add(logits, rows, gradient)
                gradients.append(gradient)
            totals = accumulator.totals()
        keep_gradients(ctx, gradients)
        ctx.mark_non_differentiable(totals.positive, totals.negative)
        loss = (totals.loss * problem.scale).to(problem.scale.dtype)
        return loss, totals.positive, totals.negative

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return None, *release_gradients(ctx, grad_outputs[0])


def _by_operator(problem: _Problem, matrices: Sequence[Tensor]) -> LossSums:
    """What the compiler sees: one operator per matrix, and sums."""
    results = [
        sigmoid_loss(
            matrix,
            *rows,
            *problem.modulation,
            problem.scale,
            problem.backend,
            problem.varifocal,
            wanted,
        )[:3]
        for matrix, rows, wanted in zip(matrices, problem.rows, problem.wants_gradient, strict=True)
    ]
    return LossSums(*(torch.stack(parts).sum(0) for parts in zip(*results, strict=True)))


def _forbid_other_uses(matrix: Tensor) -> None:
    """Make the backward pass fail if a later reader of overwritten logits sends a gradient too.

    A reader before the loss is caught by the version counter, which overwriting raises.
    """
    base = matrix if matrix._base is None else matrix._base
    if base.is_leaf:
        raise ValueError(
            "modulated_sigmoid_loss: overwrite_logits=True would destroy the values of a leaf "
            "tensor; pass the output of a layer, or leave it out"
        )
    address = matrix.data_ptr()

    def check(gradient: Tensor) -> None:
        if gradient.data_ptr() != address:
            raise RuntimeError(
                "modulated_sigmoid_loss: the logits were overwritten with their gradient, but "
                "something else read them as well; pass overwrite_logits=False"
            )

    # later readers of a view go to its base; of a base that is larger, other parts may be in use
    for tensor in {matrix, base} if base.numel() == matrix.numel() else {matrix}:
        tensor.register_hook(check)
