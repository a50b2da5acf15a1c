"""Which device does this process compute on?"""

from __future__ import annotations

import os

import torch

from dense_lt.utils.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """The device of this process; under torchrun every process takes the GPU of its number.

    Args:
        name: "auto" (CUDA where there is any, else CPU), "cpu" or "cuda".

    Raises:
        ConfigError: "cuda" without a usable GPU, or more processes than GPUs.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not available):
        return torch.device("cpu")
    if not available:
        raise ConfigError(
            "device: cuda was asked for but torch sees no GPU; allowed here: auto, cpu. "
            "Set device=cpu, or install a driver and a CUDA build of torch."
        )
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if local_rank >= available:
        raise ConfigError(
            f"device: process {local_rank} of this machine has no GPU of its own, there are "
            f"{available}; start at most {available} processes with torchrun --nproc-per-node, "
            "or set device=cpu."
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
