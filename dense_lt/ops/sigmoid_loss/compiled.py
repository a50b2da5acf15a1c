"""The loss as one opaque operator, for `torch.compile`.

The eager function keeps its gradient in Python and hands it out once, which a compiler cannot
follow. Here the gradient is an output of the operator, and the backward pass multiplies it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dense_lt.ops.sigmoid_loss.arguments import Modulation, Rows
from dense_lt.ops.sigmoid_loss.backends import choose_backend


@torch.library.custom_op("dense_lt::sigmoid_loss", mutates_args=())
def sigmoid_loss(  # noqa: PLR0913 - an operator takes tensors, not structures of them
    logits: Tensor,
    labels: Tensor,
    quality: Tensor | None,
    groups: Tensor | None,
    gamma: Tensor,
    positive_weight: Tensor,
    negative_weight: Tensor,
    scale: Tensor,
    backend: str,
    varifocal: bool,
    wants_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss (), positive and negative sums (C,), and gradient (N, C) or (0,) of one matrix."""
    with torch.autocast(logits.device.type, enabled=False):
        modulation = Modulation(gamma, positive_weight, negative_weight)
        backend_class = choose_backend(backend, logits)  # type: ignore[arg-type]
        accumulator = backend_class(modulation, scale, varifocal=varifocal)
        gradient = torch.empty_like(logits) if wants_gradient else None
        accumulator.add(logits, Rows(labels, quality, groups), gradient)
        loss, positive, negative = accumulator.totals()
    if gradient is None:
        gradient = logits.new_empty(0)
    return (loss * scale).to(scale.dtype), positive.clone(), negative.clone(), gradient


@sigmoid_loss.register_fake
def _(  # noqa: PLR0913
    logits: Tensor,
    labels: Tensor,
    quality: Tensor | None,
    groups: Tensor | None,
    gamma: Tensor,
    positive_weight: Tensor,
    negative_weight: Tensor,
    scale: Tensor,
    backend: str,
    varifocal: bool,
    wants_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    sums = [scale.new_empty(logits.shape[1], dtype=torch.float64) for _ in range(2)]
    gradient = torch.empty_like(logits) if wants_gradient else logits.new_empty(0)
    return torch.empty_like(scale), *sums, gradient  # type: ignore[return-value]


def _keep(ctx: Any, inputs: tuple[object, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(output[-1])


def _backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    (gradient,) = ctx.saved_tensors
    return gradient * grad_loss.to(gradient.dtype), *[None] * 10


sigmoid_loss.register_autograd(_backward, setup_context=_keep)
