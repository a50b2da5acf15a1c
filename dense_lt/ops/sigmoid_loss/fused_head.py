"""The classifier's last convolution and the loss together, so that the logits never exist.

Piece by piece of the feature maps: logits, loss, gradient in the logits' memory, and from it the
gradients of features, weight and bias. No product is computed twice. An assigner that needs the
logits themselves cannot use this path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from dense_lt.ops.sigmoid_loss.arguments import (
    Backend,
    Matrices,
    Modulation,
    Rows,
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
    problem = _Problem(
        rows=rows_of(labels, quality, groups),
        modulation=modulation,
        scale=scale_tensor(scale, probe),
        backend=choose_backend(backend, probe),
        dtype=dtype,
        piece=piece or _default_piece(weight),
        wants_gradient=torch.is_grad_enabled(),
    )
    check_dtype(probe)
    _check_shapes(maps, weight, problem)
    run = torch.compiler.disable(_FusedHead.apply)
    return LossSums(*run(problem, weight, bias, *maps))  # type: ignore[call-arg]


@dataclass(frozen=True)
class _Problem:
    """Everything but what gets a gradient."""

    rows: tuple[Rows, ...]
    modulation: Modulation
    scale: Tensor
    backend: Backend
    dtype: torch.dtype
    piece: int
    wants_gradient: bool


class _Gradients(NamedTuple):
    """Of the layer, in float32 (float64 for float64); None where not wanted."""

    weight: Tensor | None
    bias: Tensor | None


class _FusedHead(torch.autograd.Function):
    """The forward pass makes the gradients, the backward pass hands them out once."""

    @staticmethod
    def forward(
        ctx: Any, problem: _Problem, weight: Tensor, bias: Tensor | None, *maps: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        wanted = [needed and problem.wants_gradient for needed in ctx.needs_input_grad[1:]]
        # autocast has been heard in the choice of dtype and must not touch the maths
        with torch.autocast(weight.device.type, enabled=False):
            layer = _Layer(problem, weight, bias, wants=wanted[:2])
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


class _Layer:
    """A convolution, and what its levels have added up to so far."""

    def __init__(
        self, problem: _Problem, weight: Tensor, bias: Tensor | None, *, wants: Sequence[bool]
    ) -> None:
        """Begin; `wants` says whether weight and bias want gradients."""
        self.problem = problem
        self.weight = weight.detach().to(problem.dtype, memory_format=torch.channels_last)
        self.bias = None if bias is None else bias.detach().to(problem.dtype)
        self.num_classes = len(problem.modulation.gamma)
        self.accumulator = problem.backend(problem.modulation, problem.scale)
        sums = problem.scale.dtype
        self.gradients = _Gradients(
            torch.zeros_like(self.weight, dtype=sums) if wants[0] else None,
            torch.zeros(len(weight), dtype=sums, device=weight.device) if wants[1] else None,
        )

    def add_level(self, level: Tensor, rows: Rows, *, wants_gradient: bool) -> Tensor | None:
        """Add one level (B, channels, H, W) to the sums; its gradient, if wanted."""
        gradient = None
        if wants_gradient:
            gradient = torch.empty_like(level, memory_format=torch.channels_last)
        add = self._add_points if self.weight.shape[-1] == 1 else self._add_strips
        add(level, rows, gradient)
        return gradient

    def _add_points(self, level: Tensor, rows: Rows, gradient: Tensor | None) -> None:
        """A 1x1 convolution: any run of locations is a matrix of its own."""
        channels, per_location = level.shape[1], len(self.weight) // self.num_classes
        points = _locations(level)
        weight = self.weight.view(-1, channels)
        for start in range(0, len(points), self.problem.piece):
            stop = min(start + self.problem.piece, len(points))
            own = points[start:stop].to(self.problem.dtype)
            logits = functional.linear(own, weight, self.bias)  # (n, A*C)
            self._add_rows(logits, rows.slice(start * per_location, stop * per_location))
            if gradient is not None:
                _locations(gradient)[start:stop] = logits @ weight
            if self.gradients.weight is not None:
                self.gradients.weight.view(-1, channels).add_(logits.t() @ own)

    def _add_strips(self, level: Tensor, rows: Rows, gradient: Tensor | None) -> None:
        """A 3x3 convolution: a strip of rows needs one more row on either side."""
        height, width = level.shape[2:]
        row_length = width * (len(self.weight) // self.num_classes)
        if gradient is not None:
            gradient.zero_()
        for images, top, bottom in _strips(level.shape, self.problem.piece):
            above, below = max(top - 1, 0), min(bottom + 1, height)
            border = (above - (top - 1), bottom + 1 - below)  # rows of zeros, outside the image
            patch = functional.pad(
                level[images, :, above:below].to(self.problem.dtype), (0, 0, *border)
            ).contiguous(memory_format=torch.channels_last)
            logits = functional.conv2d(patch, self.weight, self.bias, padding=(0, 1))
            logits = logits.contiguous(memory_format=torch.channels_last)
            first = images.start * height + top
            last = (images.stop - 1) * height + bottom
            self._add_rows(_locations(logits), rows.slice(first * row_length, last * row_length))
            patch_gradient = self._through_convolution(patch, logits, gradient is not None)
            if gradient is not None and patch_gradient is not None:
                inside = slice(border[0], patch.shape[2] - border[1])
                gradient[images, :, above:below] += patch_gradient[:, :, inside]

    def _add_rows(self, logits: Tensor, rows: Rows) -> None:
        """Add the loss of `logits` (n, A*C) and put their gradient in their place."""
        matrix = logits.view(-1, self.num_classes)
        self.accumulator.add(matrix, rows, matrix if self.problem.wants_gradient else None)
        if self.gradients.bias is not None:
            self.gradients.bias.add_(logits.sum(0, dtype=self.gradients.bias.dtype))

    def _through_convolution(
        self, patch: Tensor, gradient: Tensor, wants_patch: bool
    ) -> Tensor | None:
        """Add the gradient of the weight; return that of `patch` (if wanted)."""
        wants_weight = self.gradients.weight is not None
        if not (wants_patch or wants_weight):
            return None
        patch_gradient, weight_gradient, _ = torch.ops.aten.convolution_backward(
            gradient,
            patch,
            self.weight,
            bias_sizes=None,
            stride=[1, 1],
            padding=[0, 1],
            dilation=[1, 1],
            transposed=False,
            output_padding=[0, 0],
            groups=1,
            output_mask=[wants_patch, wants_weight, False],
        )
        if self.gradients.weight is not None:
            self.gradients.weight.add_(weight_gradient)
        return patch_gradient


def _locations(level: Tensor) -> Tensor:
    """(B, channels, H, W) -> (B*H*W, channels); a view of channels-last memory."""
    return level.permute(0, 2, 3, 1).reshape(-1, level.shape[1])


def _strips(shape: Sequence[int], locations: int) -> Iterator[tuple[slice, int, int]]:
    """Cut B images into (images, first row, row after the last), of about `locations` each.

    Either several whole images or a part of one, so that the rows of logits lie in one run; parts
    of an image are about equally high.
    """
    num_images, _, height, width = shape
    together = max(locations // (height * width), 1)
    parts = min(max(round(height * width / locations), 1), height)
    edges = [height * part // parts for part in range(parts + 1)]
    for start in range(0, num_images, together):
        images = slice(start, min(start + together, num_images))
        for top, bottom in pairwise(edges):
            yield images, top, bottom


def _convolution_dtype(features: Tensor) -> torch.dtype:
    """Of autocast where it is on, else of the features."""
    kind = features.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else features.dtype


def _default_piece(weight: Tensor) -> int:
    return LOCATIONS_ON_CUDA if weight.is_cuda else LOCATIONS_ON_CPU.get(weight.shape[-1], 1)


def _check_shapes(maps: Sequence[Tensor], weight: Tensor, problem: _Problem) -> None:
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
