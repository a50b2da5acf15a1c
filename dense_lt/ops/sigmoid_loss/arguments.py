"""What goes into and comes out of every backend of the sigmoid loss family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dense_lt.ops.matching import IGNORE


class Modulation(NamedTuple):
    """How the loss of every class is shaped; float32, constants for the derivative."""

    gamma: Tensor  # (C,) focusing exponent, >= 0; 0 is plain binary cross-entropy
    positive_weight: Tensor  # (C,)
    negative_weight: Tensor  # (C,), or (G, C) with the row chosen by `Rows.groups`

    def to(self, dtype: torch.dtype) -> Modulation:
        """The same three tensors in `dtype`."""
        return Modulation(*(values.to(dtype) for values in self))


class Rows(NamedTuple):
    """What is known of the N rows of one matrix of logits."""

    labels: Tensor  # (N,) int64: [0, C), BACKGROUND or IGNORE
    quality: Tensor | None = None  # (N,) IoU target in [0, 1], read where a label is a class
    groups: Tensor | None = None  # (N,) int64: the row of a (G, C) negative weight that counts

    def slice(self, start: int, stop: int) -> Rows:
        """Rows `start` to `stop` (views)."""
        return Rows(*(None if part is None else part[start:stop] for part in self))  # type: ignore[arg-type]


class Totals(NamedTuple):
    """Sums over entries, without the scale, float64."""

    loss: Tensor  # ()
    positive: Tensor  # (C,) sum of |dl/dlogit| over positive entries
    negative: Tensor  # (C,) sum of |dl/dlogit| over negative entries

    @classmethod
    def zeros(cls, num_classes: int, device: torch.device) -> Totals:
        """Nothing summed yet."""
        sums = torch.zeros(2 * num_classes + 1, dtype=torch.float64, device=device)
        return cls(sums[-1], sums[:num_classes], sums[num_classes:-1])


class Accumulator(Protocol):
    """Goes over matrix after matrix of logits: levels of a pyramid, or pieces of one."""

    def add(self, logits: Tensor, rows: Rows, gradient: Tensor | None) -> None:
        """Count the entries of `logits` and write their gradient.

        Args:
            logits: (N, C), contiguous.
            rows: what is known of the N rows.
            gradient: (N, C) in the dtype of the logits, written: d(scale * loss)/dlogits. May be
                the memory of `logits`; None when no gradient is wanted.
        """
        ...

    def totals(self) -> Totals:
        """Sums over everything that was added."""
        ...


class Backend(Protocol):
    """Who computes: makes an `Accumulator` for one call of the loss."""

    def __call__(
        self, modulation: Modulation, scale: Tensor, /, *, varifocal: bool = False
    ) -> Accumulator:
        """Begin with the classes' `modulation` and the factor `scale` () of the gradients.

        With `varifocal` positives weigh by their quality instead of focusing.
        The dtype of `scale` is that of the maths: float32, or float64 for float64 logits.
        """
        ...


Matrices = Tensor | Sequence[Tensor]
"""One tensor, or one per pyramid level."""


def as_tuple(tensors: Matrices) -> tuple[Tensor, ...]:
    """A single tensor as a tuple of one."""
    return (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)


def rows_of(
    labels: Matrices, quality: Matrices | None, groups: Matrices | None
) -> tuple[Rows, ...]:
    """What is known of the rows of each matrix."""
    columns = [as_tuple(labels)]
    for values in (quality, groups):
        columns.append((None,) * len(columns[0]) if values is None else as_tuple(values))  # type: ignore[arg-type]
    return tuple(Rows(*parts) for parts in zip(*columns, strict=True))


def scale_tensor(scale: Tensor | float, logits: Tensor) -> Tensor:
    """`scale` as a constant () in the dtype of the maths, on the device of `logits`."""
    dtype, device = compute_dtype(logits), logits.device
    if isinstance(scale, Tensor):
        return scale.detach().to(device, dtype)
    return torch.full((), scale, dtype=dtype, device=device)  # unlike a copy it waits for nothing


def check_arguments(logits: Sequence[Tensor], rows: Sequence[Rows], modulation: Modulation) -> None:
    """Refuse what the backends cannot compute.

    Raises:
        TypeError: float16 or integer logits.
        ValueError: shapes that do not fit together.
    """
    num_classes = len(modulation.gamma)
    if len(logits) != len(rows):
        raise ValueError(f"sigmoid loss: {len(logits)} matrices of logits, {len(rows)} of labels")
    for matrix, own in zip(logits, rows, strict=True):
        check_dtype(matrix)
        if matrix.dim() != 2 or matrix.shape[1] != num_classes:
            raise ValueError(
                f"sigmoid loss: logits are {tuple(matrix.shape)} but `gamma` has {num_classes} "
                f"classes; logits must be (N, {num_classes})"
            )
        check_rows(own, len(matrix), modulation)


def check_dtype(values: Tensor) -> None:
    """Raises TypeError where the range or the kind of numbers does not do."""
    if values.dtype == torch.float16:
        raise TypeError(
            "sigmoid loss: logits are float16, in which the gradient of nearly every easy negative "
            "is 0; use bfloat16 or float32 (autocast with dtype=torch.bfloat16)"
        )
    if values.dtype not in (torch.float32, torch.bfloat16, torch.float64):
        raise TypeError(
            f"sigmoid loss: logits are {values.dtype}; use float32, bfloat16 or float64"
        )


def check_rows(rows: Rows, num_rows: int, modulation: Modulation) -> None:
    """Raises ValueError where labels, quality, groups and weights do not fit together."""
    for name, column in rows._asdict().items():
        if column is not None and column.shape != (num_rows,):
            raise ValueError(
                f"sigmoid loss: `{name}` has shape {tuple(column.shape)} for {num_rows} rows of "
                f"logits; it must be ({num_rows},)"
            )
    if (rows.groups is None) != (modulation.negative_weight.dim() == 1):
        raise ValueError(
            "sigmoid loss: a `negative_weight` of shape (G, C) and `groups` go together; it has "
            f"shape {tuple(modulation.negative_weight.shape)} and groups are "
            f"{'missing' if rows.groups is None else 'given'}"
        )


def check_labels(labels: Tensor, num_classes: int) -> None:
    """Assert that `labels` (N,) are what they should be; on CUDA that would wait for the device."""
    if labels.is_cuda or not len(labels):
        return
    lowest, highest = (int(end) for end in labels.aminmax())
    fits = IGNORE <= lowest <= highest < num_classes
    assert fits, f"labels span [{lowest}, {highest}], classes [0, {num_classes})"


def compute_dtype(logits: Tensor) -> torch.dtype:
    """float64 stays; everything else is computed in float32."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32
