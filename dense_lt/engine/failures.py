"""What is said and kept when training cannot go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from dense_lt.structures import Batch
from dense_lt.utils import distributed
from dense_lt.utils.errors import MachineError, of_one_process
from dense_lt.utils.faults import is_out_of_memory

TRAINING_MEND = (
    "raise train.micro_batches (less memory, the same result), set train.precision=bf16, or make "
    "the images of data.train_transforms smaller; the same command with --resume goes on from the "
    "last checkpoint, with another train.micro_batches too"
)
EVALUATION_MEND = (
    "lower evaluation.batch_size; the same command with --resume goes on from the checkpoint of "
    "this step"
)


@contextmanager
def memory_told(what: str, mend: str) -> Iterator[None]:
    """Say in one message that memory ran out inside, and what may be done about it.

    Raises:
        MachineError: so it was.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        told = MachineError(f"{what}: memory ran out ({reason}). To need less: {mend}")
        if distributed.is_distributed():
            of_one_process(told, distributed.rank())
        raise told from error


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
