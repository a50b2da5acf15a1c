"""What is learnt is saved: all of it, whole or not at all, and nothing that needs trust to read."""

from __future__ import annotations

import logging
import os
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dense_lt.data.categories import CategoryTable
from dense_lt.engine.run_folder import RunFolder, write_atomically
from dense_lt.utils import distributed
from dense_lt.utils.environment import versions
from dense_lt.utils.errors import DataError
from dense_lt.utils.seeding import RandomStates, random_states

_logger = logging.getLogger(__name__)

FORMAT = 1
"""Raised when a field changes its meaning."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run needs to go on, or a detector to be used. Tensors are on the CPU."""

    step: int  # optimizer steps done
    samples_seen: int  # images drawn from the sampler, over all processes
    model: dict[str, Tensor]  # parameters and buffers, gradient statistics among them
    optimizer: dict[str, Any]
    random_states: list[RandomStates]  # one per process
    categories: dict[str, list[object]]  # CategoryTable.to_json
    config: dict[str, Any]  # resolved
    versions: dict[str, str | None]
    format: int = FORMAT


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write `folder`/step_N.pt, then point `latest` at it, then delete all but the `keep` newest.

    At every instant, also in a crash, `latest` names a file that is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step_{checkpoint.step:08d}.pt"
    draft = path.with_suffix(".pt.tmp")
    with draft.open("wb") as file:
        torch.save(vars(checkpoint), file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    write_atomically(folder / "latest", path.name + "\n")
    for old in [own for own in _newest_first(folder) if own != path][keep - 1 :]:
        old.unlink()
    return path


class CheckpointWriter:
    """Saves a run as it stands. Every process must call it together; the main one writes."""

    def __init__(
        self,
        folder: Path,
        detector: nn.Module,
        optimizer: Optimizer,
        *,
        batch_size: int,
        keep: int,
        categories: CategoryTable,
        config: Mapping[str, Any],
    ) -> None:
        """Remember what to save: `batch_size` images per step over all processes, ..."""
        self._folder = folder
        self._detector = detector
        self._optimizer = optimizer
        self._batch_size = batch_size
        self._keep = keep
        self._categories = categories.to_json()
        self._config = dict(config)

    def __call__(self, step: int) -> None:
        """Save the state after optimizer step `step`."""
        states = distributed.gather_objects(random_states())
        if not distributed.is_main():
            return
        checkpoint = Checkpoint(
            step=step,
            samples_seen=step * self._batch_size,
            model=dict(self._detector.state_dict()),
            optimizer=self._optimizer.state_dict(),
            random_states=states,
            categories=self._categories,
            config=self._config,
            versions=versions(),
        )
        path = save_checkpoint(self._folder, checkpoint, keep=self._keep)
        _logger.info("step %d: wrote %s", step, path)


def latest_checkpoint(run_folder: Path) -> Path:
    """The newest checkpoint of a run that is whole: what `latest` names, or an earlier one.

    Raises:
        DataError: there is none.
    """
    folder = RunFolder(run_folder).checkpoints
    pointer = folder / "latest"
    named = [folder / pointer.read_text(encoding="utf-8").strip()] if pointer.is_file() else []
    for path in [*named, *(other for other in _newest_first(folder) if other not in named)]:
        if _is_whole(path):
            return path
        _logger.warning("%s: missing or damaged; taking the checkpoint before it", path)
    raise DataError(
        f"{folder}: no checkpoint that can be read; expected step_*.pt as `dense-lt train` writes "
        "them. Train first, or give the folder of another run."
    )


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote; tensors and plain Python only, no code is run.

    Raises:
        DataError: the file is missing, damaged, or not one of ours.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint = Checkpoint(**stored)
    except (OSError, RuntimeError, EOFError, TypeError, ValueError, pickle.PickleError) as error:
        raise DataError(f"{path}: cannot be read as a checkpoint of dense_lt: {error}") from error
    if checkpoint.format != FORMAT:
        raise DataError(
            f"{path}: checkpoint format {checkpoint.format}, this version reads {FORMAT}; use the "
            f"dense_lt that wrote it ({checkpoint.versions.get('dense_lt')})."
        )
    return checkpoint


def restore_model(detector: nn.Module, checkpoint: Checkpoint) -> None:
    """Load the weights and statistics of `checkpoint` into `detector`, all of them.

    Raises:
        DataError: a tensor is missing, unknown, or of another shape; nothing has been loaded.
    """
    wanted, stored = detector.state_dict(), checkpoint.model
    faults = [f"missing {name}" for name in wanted.keys() - stored.keys()]
    faults += [f"unknown {name}" for name in stored.keys() - wanted.keys()]
    faults += [
        f"{name} has shape {tuple(stored[name].shape)}, the model {tuple(wanted[name].shape)}"
        for name in wanted.keys() & stored.keys()
        if stored[name].shape != wanted[name].shape
    ]
    if faults:
        shown = "; ".join(sorted(faults)[:5]) + ("; ..." if len(faults) > 5 else "")
        raise DataError(
            f"checkpoint of step {checkpoint.step}: does not fit the model in {len(faults)} of "
            f"{len(wanted)} tensors: {shown}. Build the model from the config of that run."
        )
    detector.load_state_dict(stored, strict=True)


def _newest_first(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob("step_*.pt"), reverse=True)


def _is_whole(path: Path) -> bool:
    """Whether every byte is there and as it was written (torch saves zip files with checksums)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False
