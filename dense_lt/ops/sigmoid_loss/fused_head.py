"""The classifier's last convolution and the loss together, so that the logits never exist.

Piece by piece of the feature maps: logits, loss, gradient in the logits' memory, and from it the
gradients of features, weight and bias. No product is computed twice. An assigner that needs the
logits themselves cannot use this path.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dense_lt.ops.sigmoid_loss.arguments import (
    Matrices,
    Modulation,
    as_tuple,
    check_dtype,
    check_labels,
    check_rows,
    rows_of,
    scale_tensor,
)
from dense_lt.ops.sigmoid_loss.backends import BackendName, choose_backend
from dense_lt.ops.sigmoid_loss.backward import keep_gradients, release_gradients
from dense_lt.ops.sigmoid_loss.function import LossSums
from dense_lt.ops.sigmoid_loss.head_layer import HeadLayer, HeadProblem

LOCATIONS_ON_CUDA = 8192
"""Per piece; the logits of a piece stay in the second-level cache."""

LOCATIONS_ON_CPU = {1: 1024, 3: 2048}
"""Per piece, by kernel size; every piece of a 3x3 convolution adds up a whole weight gradient."""


def fused_head_loss(  # noqa: PLR0913 - as `modulated_sigmoid_loss`, with a convolution for the logits
    features: Matrices,
    weight: Tensor,
    bias: Tensor | None,
    labels: Matrices,
    *,
    gamma: Tensor,
    positive_weight: Tensor,
    negative_weight: Tensor,
    scale: Tensor | float = 1.0,
    quality: Matrices | None = None,
    groups: Matrices | None = None,
    varifocal: bool = False,
    piece: int | None = None,
    backend: BackendName = "auto",
) -> LossSums:
    """`modulated_sigmoid_loss` of the logits that a convolution would make of `features`.

    Under autocast the convolution runs in autocast's dtype, otherwise in that of the features; the
    maths of the loss is in float32 in either case. `torch.compile` runs it as it is.

    Args:
        features: (B, channels, H, W), or one such map per level; channels-last maps are not copied.
        weight: (A*C, channels, k, k), channels of the output ordered (prior, class); k is 1 or 3,
            stride 1, padded with k // 2 zeros.
        bias: (A*C,) or None.
        labels: (B*H*W*A,) per level, ordered (image, y, x, prior); see `modulated_sigmoid_loss`.
        gamma: (C,).
        positive_weight: (C,).
        negative_weight: (C,), or (G, C) together with `groups`.
        scale: loss weight / normaliser.
        quality: (B*H*W*A,) per level.
        groups: (B*H*W*A,) per level.
        varifocal: positives weigh by their quality, and are not focused.
        piece: locations at a time; None chooses by device and kernel.
        backend: see `modulated_sigmoid_loss`.

    Raises:
        TypeError: float16.
        ValueError: shapes that do not fit together.
        RuntimeError: in backward, on a second pass or a second derivative.
    """
    maps = as_tuple(features)
    modulation = Modulation(*(v.detach() for v in (gamma, positive_weight, negative_weight)))
    dtype = _convolution_dtype(maps[0])
    probe = torch.empty(0, dtype=dtype, device=weight.device)
    problem = HeadProblem(
        rows=rows_of(labels, quality, groups),
        modulation=modulation,
        scale=scale_tensor(scale, probe),
        backend=partial(choose_backend(backend, probe), varifocal=varifocal),
        dtype=dtype,
        piece=piece or _default_piece(weight),
        wants_gradient=torch.is_grad_enabled(),
    )
    check_dtype(probe)
    _check_shapes(maps, weight, problem)
    run = torch.compiler.disable(_FusedHead.apply)
    return LossSums(*run(problem, weight, bias, *maps))  # type: ignore[call-arg]


class _FusedHead(torch.autograd.Function):
    """The forward pass makes the gradients, the backward pass hands them out once."""

    @staticmethod
    def forward(
        ctx: Any, problem: HeadProblem, weight: Tensor, bias: Tensor | None, *maps: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        wanted = [needed and problem.wants_gradient for needed in ctx.needs_input_grad[1:]]
        # autocast has been heard in the choice of dtype and must not touch the maths
        with torch.autocast(weight.device.type, enabled=False):
            layer = HeadLayer(problem, weight, bias, wants=wanted[:2])
            map_gradients = [
                layer.add_level(level.detach(), rows, wants_gradient=wants)
                for level, rows, wants in zip(maps, problem.rows, wanted[2:], strict=True)
            ]
        totals, gradients = layer.accumulator.totals(), layer.gradients
        keep_gradients(
            ctx,
            [
                None if gradients.weight is None else gradients.weight.to(weight.dtype),
                None if gradients.bias is None or bias is None else gradients.bias.to(bias.dtype),
                *map_gradients,
            ],
        )
        ctx.mark_non_differentiable(totals.positive, totals.negative)
        loss = (totals.loss * problem.scale).to(problem.scale.dtype)
        return loss, totals.positive, totals.negative

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return None, *release_gradients(ctx, grad_outputs[0])


def _convolution_dtype(features: Tensor) -> torch.dtype:
    """Of autocast where it is on, else of the features."""
    kind = features.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else features.dtype


def _default_piece(weight: Tensor) -> int:
    return LOCATIONS_ON_CUDA if weight.is_cuda else LOCATIONS_ON_CPU.get(weight.shape[-1], 1)


def _check_shapes(maps: Sequence[Tensor], weight: Tensor, problem: HeadProblem) -> None:
    num_classes = len(problem.modulation.gamma)
    if weight.shape[2:] not in {(1, 1), (3, 3)} or len(weight) % num_classes:
        raise ValueError(
            f"fused_head_loss: weight has shape {tuple(weight.shape)} for {num_classes} classes; "
            f"it must be (A*{num_classes}, channels, k, k) with k = 1 or 3"
        )
    if len(maps) != len(problem.rows):
        raise ValueError(
            f"fused_head_loss: {len(maps)} levels of features, {len(problem.rows)} of labels"
        )
    per_location = len(weight) // num_classes
    for level, rows in zip(maps, problem.rows, strict=True):
        check_rows(rows, level[:, 0].numel() * per_location, problem.modulation)
        check_labels(rows.labels, num_classes)
