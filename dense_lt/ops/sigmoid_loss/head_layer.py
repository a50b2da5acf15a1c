"""A classifier's convolution, piece by piece, with the loss and every gradient of each piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from dense_lt.ops.sigmoid_loss.arguments import Backend, Modulation, Rows


@dataclass(frozen=True)
class HeadProblem:
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


class HeadLayer:
    """A convolution, and what its levels have added up to so far."""

    def __init__(
        self, problem: HeadProblem, weight: Tensor, bias: Tensor | None, *, wants: Sequence[bool]
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
        if wants_gradient:  # channels-last, whatever the sizes
            images, channels, height, width = level.shape
            gradient = level.new_empty(images, height, width, channels).permute(0, 3, 1, 2)
        add = self._add_points if self.weight.shape[-1] == 1 else self._add_strips
        add(level, rows, gradient)
        return gradient

    def _add_points(self, level: Tensor, rows: Rows, gradient: Tensor | None) -> None:
        """A 1x1 convolution: any run of locations is a matrix of its own."""
        points, weight = _locations(level), self.weight.flatten(1)
        per_location = len(weight) // self.num_classes
        buffer = points.new_empty(
            min(self.problem.piece, len(points)), len(weight), dtype=self.problem.dtype
        )
        for start in range(0, len(points), self.problem.piece):
            stop = min(start + self.problem.piece, len(points))
            own, logits = points[start:stop].to(self.problem.dtype), buffer[: stop - start]
            if self.bias is None:
                torch.mm(own, weight.t(), out=logits)
            else:
                torch.addmm(self.bias, own, weight.t(), out=logits)
            self._add_rows(logits, rows.slice(start * per_location, stop * per_location))
            if gradient is not None:
                target = _locations(gradient)[start:stop]
                if target.dtype == logits.dtype:
                    torch.mm(logits, weight, out=target)
                else:
                    target.copy_(logits @ weight)
            self._add_product(logits, own)

    def _add_product(self, gradient: Tensor, points: Tensor) -> None:
        """Add the gradient of a 1x1 weight: `gradient` (n, A*C), transposed, times `points`."""
        if self.gradients.weight is None:
            return
        total = self.gradients.weight.flatten(1)
        if total.dtype == points.dtype:
            total.addmm_(gradient.t(), points)
        else:
            total.add_(gradient.t() @ points)

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
            matrix = _locations(logits)
            assert matrix.data_ptr() == logits.data_ptr(), logits.stride()  # will hold the gradient
            self._add_rows(matrix, rows.slice(first * row_length, last * row_length))
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
