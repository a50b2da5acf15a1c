"""Launches the Triton kernels: the backend for CUDA."""

# pyright: reportArgumentType=false, reportCallIssue=false
# A kernel is called through Triton, which adds options and wraps constants itself.

from __future__ import annotations

from functools import cache

import torch
import triton
from torch import Tensor
from triton.runtime.jit import JITFunction

from dense_lt.ops.sigmoid_loss import triton_kernels as kernels
from dense_lt.ops.sigmoid_loss.arguments import Modulation, Rows, Totals
from dense_lt.ops.sigmoid_loss.triton_positives import FIXED_POINT, finish_positives

INTERPRETED = not isinstance(kernels.sum_negatives, JITFunction)
"""Whether TRITON_INTERPRET was set when triton was imported: then kernels run on a CPU, slowly."""

BLOCK_ROWS, BLOCK_COLUMNS, WARPS = 2, 1024, 4
PROGRAMS_PER_PROCESSOR = 5
"""Of the dense pass; fills a Hopper multiprocessor with the registers that the kernel takes."""

PROGRAMS_FOR_POSITIVES = 64
ROWS_FOR_POSITIVES = 1024


class TritonLoss:
    """An `Accumulator` on a CUDA device; never waits for it.

    While a matrix is counted, its positive logits are replaced and, unless the gradient takes
    their place, put back, without raising the version counter. `scale` must be above 0.

    Raises:
        ValueError: logits on a CPU, without Triton's interpreter.
    """

    def __init__(self, modulation: Modulation, scale: Tensor, *, varifocal: bool = False) -> None:
        if not (scale.is_cuda or INTERPRETED):
            raise ValueError(
                f"backend 'triton' needs logits on CUDA, not on {scale.device}; use 'auto'"
            )
        shape = modulation.to(torch.float32)
        self._varifocal = varifocal
        self._scale = scale.float()
        self._gamma = shape.gamma.contiguous()
        self._positive_weight = shape.positive_weight.contiguous()
        # the scale rides on the weight: no multiplication per entry
        self._log2_weight = (shape.negative_weight * self._scale).log2().contiguous()
        num_classes = len(self._gamma)
        self._width = kernels.ROWS_PER_SUPER * num_classes
        self._column_blocks = triton.cdiv(self._width, BLOCK_COLUMNS)
        programs = PROGRAMS_PER_PROCESSOR * _processors(scale.device)
        self._slots = max(programs // self._column_blocks, 1)

        def zeros(*size: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros(size, dtype=dtype, device=scale.device)

        # one slot more for the rows that do not fill a super-row
        self._sums = zeros(self._slots + 1, self._width, dtype=torch.float32)
        self._losses = zeros(self._slots + 1, self._column_blocks, dtype=torch.float64)
        self._positive = zeros(num_classes, dtype=torch.int64)
        self._positive_losses = zeros(PROGRAMS_FOR_POSITIVES, dtype=torch.float64)
        self._some_ignored = zeros(1, dtype=torch.int32)

    def add(self, logits: Tensor, rows: Rows, gradient: Tensor | None) -> None:
        """See `Accumulator`."""
        num_rows = len(logits)
        if not num_rows:
            return
        supers = triton.cdiv(num_rows, kernels.ROWS_PER_SUPER)
        hidden = torch.empty(num_rows, dtype=torch.float32, device=logits.device)
        valid = torch.empty(supers, dtype=torch.int32, device=logits.device)
        labels = rows.labels.contiguous()
        with torch.cuda.device_of(logits):
            kernels.hide_positives[(triton.cdiv(supers, kernels.SUPERS_PER_PROGRAM),)](
                logits,
                labels,
                hidden,
                valid,
                self._some_ignored,
                num_rows,
                logits.shape[1],
                BLOCK=kernels.SUPERS_PER_PROGRAM,
            )
            self._negatives(logits, rows.groups, valid, gradient)
            finish_positives[
                (min(triton.cdiv(num_rows, ROWS_FOR_POSITIVES), PROGRAMS_FOR_POSITIVES),)
            ](
                logits,
                logits if gradient is None else gradient,
                labels,
                hidden if rows.quality is None else rows.quality.contiguous(),
                hidden,
                self._gamma,
                self._positive_weight,
                self._scale,
                self._positive,
                self._positive_losses,
                num_rows,
                logits.shape[1],
                QUALITY=rows.quality is not None,
                VARIFOCAL=rows.quality is not None and self._varifocal,
                WRITE=gradient is not None,
                RESTORE=gradient is None or gradient.data_ptr() != logits.data_ptr(),
                BLOCK=ROWS_FOR_POSITIVES,
            )
        if gradient is not None:
            torch.autograd.graph.increment_version(gradient)

    def totals(self) -> Totals:
        """See `Accumulator`."""
        unscale = torch.where(self._scale == 0, 0, 1 / self._scale.double())
        negative = self._losses.sum() * unscale
        loss = negative + self._positive_losses.sum()
        positive = self._positive.double() / FIXED_POINT.value
        return Totals(
            loss,
            # an integer cannot say that it is not a number
            torch.where(loss.isfinite(), positive, torch.nan),
            self._sums.view(-1, len(self._gamma)).sum(0, dtype=torch.float64) * unscale,
        )

    def _negatives(
        self, logits: Tensor, groups: Tensor | None, valid: Tensor, gradient: Tensor | None
    ) -> None:
        """The dense pass over whole super-rows, then over the rows left over."""
        num_rows, num_classes = logits.shape
        full, left = divmod(num_rows, kernels.ROWS_PER_SUPER)
        output = logits if gradient is None else gradient
        groups = None if groups is None else groups.contiguous()
        parts = [(0, full, self._width, 0), (full, 1, left * num_classes, self._slots)]
        for first, supers, columns, slot in parts:
            if not (supers and columns):
                continue
            start = first * kernels.ROWS_PER_SUPER
            programs = min(triton.cdiv(supers, BLOCK_ROWS), self._slots)
            kernels.sum_negatives[(self._column_blocks, programs)](
                logits[start:],
                output[start:],
                self._gamma,
                self._log2_weight,
                valid[first:],
                self._some_ignored,
                valid if groups is None else groups[start:],
                self._sums,
                self._losses,
                supers,
                columns,
                slot,
                num_classes,
                self._width,
                GROUPED=groups is not None,
                WRITE=gradient is not None,
                APPROXIMATE=not INTERPRETED,
                DEGREE=6 if logits.dtype == torch.bfloat16 else 7,
                BLOCK_ROWS=BLOCK_ROWS,
                BLOCK_COLUMNS=BLOCK_COLUMNS,
                num_warps=WARPS,
            )


def multiply_in_place(values: Tensor, factor: Tensor) -> None:
    """`values` *= `factor` (), with a look at the factor on the device: 1 costs nothing."""
    block = 4096
    with torch.cuda.device_of(values):
        kernels.multiply[(triton.cdiv(values.numel(), block),)](
            values, factor, values.numel(), BLOCK=block, num_warps=8
        )
    torch.autograd.graph.increment_version(values)


@cache
def _processors(device: torch.device) -> int:
    """Multiprocessors of `device`; a handful under the interpreter."""
    if device.type != "cuda":
        return 20
    return torch.cuda.get_device_properties(device).multi_processor_count
