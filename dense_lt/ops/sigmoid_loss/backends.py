"""Which backend computes a loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dense_lt.ops.sigmoid_loss.arguments import Backend
from dense_lt.ops.sigmoid_loss.backward import has_triton
from dense_lt.ops.sigmoid_loss.chunked import ChunkedLoss
from dense_lt.ops.sigmoid_loss.reference import DenseLoss

BackendName = Literal["auto", "reference", "chunked", "triton"]


def choose_backend(name: BackendName, logits: Tensor) -> Backend:
    """The backend called `name`; `auto` means the fastest for `logits`."""
    if name == "auto":
        if logits.dtype == torch.float64:
            name = "reference"
        else:
            name = "triton" if logits.is_cuda and has_triton() else "chunked"
    if name == "triton":
        from dense_lt.ops.sigmoid_loss.triton_backend import TritonLoss  # an optional dependency

        return TritonLoss
    return {"reference": DenseLoss, "chunked": ChunkedLoss}[name]
