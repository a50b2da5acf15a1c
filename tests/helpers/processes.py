"""Run a function in several gloo processes, as torchrun would, and collect what they return."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

get_context("forkserver").set_forkserver_preload(
    ["dense_lt.cli.training_run", "torch.utils.tensorboard", "pytest", "concurrent.futures.thread"]
)
"""What the processes would take seconds to import, each of them."""


def run_in_processes(function: Callable[..., Any], count: int, *arguments: object) -> list[Any]:
    """`function(*arguments)` in `count` processes; its results in rank order.

    `function` and what it gets and gives must be importable there and made of tensors and plain
    Python. An error in any process is raised here.
    """
    with tempfile.TemporaryDirectory() as folder:
        details = (count, folder, function, arguments)
        mp.start_processes(_enter, args=details, nprocs=count, start_method="forkserver")
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(count)]


def _enter(
    rank: int, count: int, folder: str, function: Callable[..., Any], arguments: tuple[object, ...]
) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count))
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=count)
    try:
        torch.save(function(*arguments), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
