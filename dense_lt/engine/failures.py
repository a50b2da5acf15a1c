"""What is said and kept when training cannot go on."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from torch import nn

from dense_lt.structures import Batch, ImageBatch, ImageInfo, Masks, Target
from dense_lt.utils import distributed
from dense_lt.utils.errors import DataError, MachineError, of_one_process
from dense_lt.utils.faults import is_out_of_memory
from dense_lt.utils.tensor_files import save_tensors

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
    batch: Batch,
    facts: Mapping[str, float],
    *,
    step: int,
    detector: nn.Module,
    folder: Path | None,
    clip_norm: float | None = None,
) -> FloatingPointError:
    """The error of a step whose loss or gradient is not finite; keeps what it was computed from.

    Every process of a run must call it together; they make the same message.

    Args:
        batch: of this process.
        facts: loss by name, gradient norm, learning rate.
        step: number of the optimizer step.
        detector: with the weights before the step.
        folder: where the batch is kept, as `step_N.pt`, and the weights; None keeps nothing.
        clip_norm: of the run, for what is advised.
    """
    numbers = ", ".join(f"{name} {value:g}" for name, value in facts.items())
    image_ids = ", ".join(str(info.image_id) for info in batch.infos)
    kept = ""
    if folder is not None:
        path = _save(batch, facts, step, folder)
        kept = f" The batch is in {path}; `dense-lt replay {path}` shows where it went wrong."
        if distributed.is_main():
            _save_weights(detector, weights_of(path, step))
    found = distributed.gather_objects(f"{numbers}; image ids {image_ids}.{kept}")
    if len(found) > 1:
        found = [f"process {rank}: {own}" for rank, own in enumerate(found)]
    clipping = ", set train.clip_norm (null does not clip)"
    if clip_norm is not None:
        clipping = f" or train.clip_norm ({clip_norm:g})"
    return FloatingPointError(
        f"step {step}: the loss or its gradient is not finite: {' '.join(found)} The weights are "
        f"those of step {step - 1}. Lower optimizer.lr{clipping}, or lengthen schedule.warmup."
    )


def read_failure(path: Path) -> tuple[int, Batch]:
    """Step and batch that `not_finite_error` has kept.

    Raises:
        DataError: the file is no such batch.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(stored, dict) or "targets" not in stored:
            is_checkpoint = isinstance(stored, dict) and "optimizer" in stored
            raise ValueError("it is a checkpoint" if is_checkpoint else "it holds something else")
        targets = [
            {key: Masks(**own) if isinstance(own, dict) else own for key, own in target.items()}
            for target in stored["targets"]
        ]
        sizes = tuple((int(height), int(width)) for height, width in stored["sizes"])
        columns = zip(stored["image_ids"], sizes, strict=True)
        infos = [ImageInfo(image_id, size, size) for image_id, size in columns]
        images = ImageBatch(stored["pixels"], sizes)
        return int(stored["step"]), Batch(images, cast(list[Target], targets), infos)
    except (OSError, RuntimeError, EOFError, LookupError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
    except pickle.PickleError:
        reason = "it holds something else"
    raise DataError(
        f"{path}: this is no batch of a failed step ({reason}); give RUN/failures/step_N.pt"
    )


def weights_of(path: Path, step: int) -> Path:
    """Where the weights before the failed `step` are, given the file of a batch."""
    return path.with_name(f"step_{step}.safetensors")


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
        "targets": [{key: _plain(own) for key, own in target.items()} for target in targets],
    }
    torch.save(content, path)
    return path


def _plain(value: object) -> object:
    if not isinstance(value, Masks):
        return value
    return {"points": value.points, "rings": value.rings, "objects": value.objects}


def _save_weights(detector: nn.Module, path: Path) -> None:
    """Parameters and buffers; of copies, because tensors in a file may not share memory."""
    state = detector.state_dict()
    layout = torch.contiguous_format
    save_tensors({name: own.cpu().clone(memory_format=layout) for name, own in state.items()}, path)
