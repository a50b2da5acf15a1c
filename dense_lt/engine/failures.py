"""What is said and kept when training has become meaningless?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from dense_lt.structures import Batch
from dense_lt.utils import distributed


def not_finite_error(
    batch: Batch, facts: Mapping[str, float], *, step: int, folder: Path | None
) -> FloatingPointError:
    """The error of a step whose loss or gradient is not finite; keeps the batch for a look at it.

    Args:
        batch: what it was computed from.
        facts: loss by name, gradient norm, learning rate.
        step: number of the optimizer step.
        folder: where the batch is kept, as `step_N.pt`; None keeps nothing.
    """
    numbers = ", ".join(f"{name} {value:g}" for name, value in facts.items())
    image_ids = ", ".join(str(info.image_id) for info in batch.infos)
    kept = f" The batch is in {_save(batch, facts, step, folder)}." if folder else ""
    return FloatingPointError(
        f"step {step}: the loss or its gradient is not finite, in this process or another: "
        f"{numbers}; image ids {image_ids}.{kept} The weights are those of step {step - 1}. "
        "Lower optimizer.lr or train.clip_norm, or lengthen schedule.warmup."
    )


def _save(batch: Batch, facts: Mapping[str, float], step: int, folder: Path) -> Path:
    """Write tensors and plain Python, so that `torch.load(path, weights_only=True)` reads it."""
    own = f"_process_{distributed.rank()}" if distributed.is_distributed() else ""
    path = folder / f"step_{step}{own}.pt"
    folder.mkdir(parents=True, exist_ok=True)
    images, targets, infos = batch.to(torch.device("cpu"))
    content = {
        "step": step,
        "facts": dict(facts),
        "image_ids": [info.image_id for info in infos],
        "pixels": images.pixels,
        "sizes": images.sizes,
        "targets": [dict(target) for target in targets],
    }
    torch.save(content, path)
    return path
