"""Where does chance come from, and how is it put back to where it was?"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor


class RandomStates(TypedDict):
    """States of every generator of one process, as tensors and plain Python."""

    python: tuple[int, tuple[int, ...], float | None]
    numpy_keys: Tensor  # (624,) int64
    numpy_position: tuple[int, int, float]  # position, has_gauss, cached_gaussian
    torch: Tensor
    cuda: list[Tensor]  # one per device, empty without CUDA


def seed_everything(seed: int) -> None:
    """Seed the generators of python, numpy and torch (every device) in this process."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def make_deterministic(device: torch.device) -> None:
    """Prefer deterministic algorithms on `device` where that is cheap.

    On a CPU all are, and two runs agree bit for bit. On CUDA cuDNN is held to deterministic
    convolutions, which costs little; scatter and index additions stay as they are, so that
    two runs agree to rounding.
    """
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if device.type == "cpu":
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
        # Otherwise every new tensor is first filled with NaN: a debugging aid that costs time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def random_states() -> RandomStates:
    """What `restore_random_states` needs to go on from here."""
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy_keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_position": (int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: RandomStates) -> None:
    """Put every generator back to `states`; those of CUDA only if there are as many devices."""
    random.setstate(states["python"])
    keys = states["numpy_keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, *states["numpy_position"]))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


@contextmanager
def kept_random_states() -> Iterator[None]:
    """Whatever is drawn inside, the generators go on afterwards as if nothing had been."""
    states = random_states()
    try:
        yield
    finally:
        restore_random_states(states)
