"""The backward pass of functions that make their gradients in the forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


def keep_gradients(ctx: FunctionCtx, gradients: Sequence[Tensor | None]) -> None:
    """Remember what `release_gradients` will hand out, once.

    Not `save_for_backward`: the memory should go back as soon as the gradient has been used.
    """
    ctx.gradients = gradients  # type: ignore[attr-defined]


def release_gradients(ctx: FunctionCtx, grad_output: Tensor) -> Sequence[Tensor | None]:
    """The kept gradients times `grad_output` (), multiplied in their own memory.

    Raises:
        RuntimeError: in a second backward pass, whose gradients the first one may have scaled and
            handed away, and under `create_graph`, since no second derivative is defined.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "sigmoid loss: backward with create_graph=True asks for a second derivative, which is "
            "not defined here; leave create_graph out"
        )
    gradients: Sequence[Tensor | None] | None = ctx.gradients  # type: ignore[attr-defined]
    if gradients is None:
        raise RuntimeError(
            "sigmoid loss: second backward pass through the same loss; its gradient was made in "
            "the forward pass and given away in the first one. Compute the loss again"
        )
    ctx.gradients = None  # type: ignore[attr-defined]
    for gradient in gradients:
        if gradient is not None:
            multiply_in_place(gradient, grad_output)
    return gradients


def multiply_in_place(values: Tensor, factor: Tensor) -> None:
    """`values` *= `factor` (), without touching the memory where the factor is 1."""
    if values.is_cuda and has_triton() and values.is_contiguous():
        from dense_lt.ops.sigmoid_loss import triton_backend  # an optional dependency

        triton_backend.multiply_in_place(values, factor)
    elif values.is_cuda or float(factor) != 1:  # on CUDA the comparison would wait for the device
        values.mul_(factor.to(values.dtype))


@cache
def has_triton() -> bool:
    """Whether Triton can be imported; it comes with torch for CUDA on Linux."""
    return find_spec("triton") is not None
