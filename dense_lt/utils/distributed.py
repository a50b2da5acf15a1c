"""Who am I among the processes, and what do we know together? All no-ops in one process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

_alone = False


def is_distributed() -> bool:
    """Whether a process group of more than one process is up."""
    if _alone:
        return False
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Number of this process, 0 when there is only one."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if is_distributed() else 1


def is_main() -> bool:
    """Whether this is the process that writes files and talks."""
    return rank() == 0


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum of `values` (any shape, same in every process) over all processes, as a new tensor.

    The result carries no gradient. In one process `values` comes back detached, without a copy.
    """
    values = values.detach()
    if not is_distributed():
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


def mean_over_processes(values: Tensor) -> Tensor:
    """Mean of `values` (any shape, floating) over all processes, without gradient."""
    return sum_over_processes(values) / world_size()


def max_over_processes(value: Tensor) -> Tensor:
    """Largest of `value` () over all processes, without gradient."""
    value = value.detach()
    if not is_distributed():
        return value
    largest = value.clone()
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process takes itself for the only one, and waits for no other."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def normalizer_over_processes(own: Tensor) -> Tensor:
    """Sum of `own` (), such as a count of positives, over W processes, at least 1, divided by W.

    Divide each process's loss by it and average the gradients, as DistributedDataParallel does:
    the result is the gradient of the joint batch, mean_r(L_r / (n / W)) = sum_r L_r / n, however
    the positives are spread, processes without any included.
    """
    return sum_over_processes(own).clamp(min=1) / world_size()


def gather_objects(value: T) -> list[T]:
    """`value` of every process, in rank order, on every process. For small objects only."""
    if not is_distributed():
        return [value]
    gathered: list[T | None] = [None] * world_size()
    dist.all_gather_object(gathered, value)
    return gathered  # type: ignore[return-value]


def broadcast_object(value: T) -> T:
    """`value` of the main process, on every process."""
    if not is_distributed():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def barrier() -> None:
    """Wait until every process is here."""
    if is_distributed():
        dist.barrier()


def restarts() -> int:
    """How often torchrun has started this run again (--max-restarts)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the group that torchrun announces in the environment, leave it at the end.

    Without torchrun's variables, or with one process, nothing is set up. CUDA uses NCCL, a CPU
    gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()
