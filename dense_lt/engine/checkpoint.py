"""What is learnt is saved: all of it, whole or not at all, and nothing that needs trust to read.

A checkpoint is two files: `step_N.safetensors` with the weights, which any tool can read, and
`step_N.pt` with what a run needs to go on. The second holds the checksum of the first and is
written last.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dense_lt.engine.run_folder import RunFolder, write_atomically
from dense_lt.utils.errors import DataError
from dense_lt.utils.seeding import RandomStates
from dense_lt.utils.tensor_files import save_tensors

_logger = logging.getLogger(__name__)

FORMAT = 2
"""Raised when a field changes its meaning."""

_PIECE = 1 << 24  # bytes read at once for a checksum


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
    trained: dict[str, Tensor] = field(default_factory=dict)
    """Weights as they are trained, where `model` holds their average; else empty."""

    micro_batches: int = 1
    """Pieces that a batch has to be cut into, where the run finds that out itself."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write step_N, then point `latest` at it, then delete all but the `keep` newest.

    At every instant, also in a crash, `latest` names a checkpoint that is whole.

    Returns:
        The file of weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.tmp"):  # by a crash
        left.unlink()
    weights = folder / f"step_{checkpoint.step:08d}.safetensors"
    rest = {**vars(checkpoint)}
    model = {name: tensor.contiguous() for name, tensor in rest.pop("model").items()}
    draft = weights.with_name(weights.name + ".tmp")
    save_tensors(model, draft, metadata={"format": "pt", "step": str(checkpoint.step)})
    rest["checksum"] = _checksum(draft)
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    rest_draft = _rest_of(weights).with_suffix(".pt.tmp")
    with rest_draft.open("wb") as file:
        torch.save(rest, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(weights)
    rest_draft.replace(_rest_of(weights))
    write_atomically(folder / "latest", weights.name + "\n")
    for old in [own for own in _newest_first(folder) if own != weights][keep - 1 :]:
        _rest_of(old).unlink(missing_ok=True)  # without it the weights are no checkpoint
        old.unlink(missing_ok=True)
    return weights


def copy_checkpoint(weights: Path, name: str) -> Path:
    """The same checkpoint as `name` in its folder, where no later one replaces it.

    Links where the file system has them: the bytes are there once.
    """
    copy = weights.with_name(f"{name}.safetensors")
    for source, target in ((weights, copy), (_rest_of(weights), _rest_of(copy))):
        draft = target.with_name(target.name + ".tmp")
        draft.unlink(missing_ok=True)
        try:
            os.link(source, draft)
        except OSError:
            shutil.copyfile(source, draft)
        draft.replace(target)
    return copy


def latest_checkpoint(run_folder: Path) -> Path:
    """Weights of a run's newest checkpoint that is whole: what `latest` names, or an earlier one.

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
        f"{folder}: no checkpoint that can be read; expected step_*.safetensors and step_*.pt as "
        "`dense-lt train` writes them. Train first, or give the folder of another run."
    )


def checkpoints_of(run_folder: Path) -> list[Path]:
    """Weights of the checkpoints of a run of which both files are there, newest first."""
    weights = _newest_first(RunFolder(run_folder).checkpoints)
    return [path for path in weights if path.is_file() and _rest_of(path).is_file()]


def has_checkpoint(run_folder: Path) -> bool:
    """Whether a run has written any checkpoint, both files of it, damaged or not.

    A crash in the middle of the very first one may leave half of it.
    """
    return bool(checkpoints_of(run_folder))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote, given either of its two files; no code in them is run.

    Raises:
        DataError: a file is missing, damaged, or not one of ours.
    """
    if path.exists() and path.suffix not in {".safetensors", ".pt"}:
        raise DataError(
            f"{path}: this is no checkpoint of dense_lt; give step_N.safetensors or step_N.pt of "
            "RUN/checkpoints"
        )
    weights = path.with_suffix(".safetensors")
    rest = _rest_of(weights)
    try:
        stored = torch.load(rest, map_location="cpu", weights_only=True)
        if not isinstance(stored, dict) or "format" not in stored:
            raise ValueError("it holds something else")
    except (OSError, RuntimeError, EOFError, ValueError, pickle.PickleError) as error:
        raise _unreadable(path, rest, error) from error
    if stored["format"] != FORMAT:
        raise DataError(
            f"{rest}: checkpoint format {stored['format']}, this version reads {FORMAT}; train "
            f"again, or use the code that wrote it ({_code_of(rest, stored)})."
        )
    try:
        if _checksum(weights) != stored.pop("checksum"):
            raise ValueError(f"its bytes are not those that {rest.name} was written for")
        return Checkpoint(model=load_file(weights), **stored)
    except (OSError, TypeError, KeyError, ValueError, SafetensorError) as error:
        raise _unreadable(path, weights, error) from error


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


def restore_training(detector: nn.Module, checkpoint: Checkpoint) -> None:
    """Load what training goes on from: as `restore_model`, but never the average of weights.

    Raises:
        DataError: see `restore_model`.
    """
    trained = checkpoint.trained or checkpoint.model
    restore_model(detector, replace(checkpoint, model=trained))


def _code_of(rest: Path, stored: dict[str, Any]) -> str:
    """Version and, where the run says so, the commit; several commits share a version."""
    version = f"dense_lt {stored.get('versions', {}).get('dense_lt')}"
    try:
        text = RunFolder(rest.parent.parent).environment.read_text(encoding="utf-8")
        commit = json.loads(text)["git_commit"]
    except (OSError, ValueError, KeyError, TypeError):
        commit = None
    return f"{version}, commit {commit}" if commit else f"{version}, commit not known"


def _unreadable(given: Path, file: Path, error: Exception) -> DataError:
    """What is said of the checkpoint `given` when `file`, one of its two, cannot be read."""
    named, reason = file, str(error)
    if isinstance(error, FileNotFoundError):
        named, reason = given, "there is no such file"
        if given.is_file():
            reason = (
                f"a checkpoint is a pair of files, and {file.name} is missing beside {given.name}; "
                "copy both"
            )
    return DataError(f"{named}: cannot be read as a checkpoint of dense_lt: {reason}")


def _rest_of(weights: Path) -> Path:
    return weights.with_suffix(".pt")


def _newest_first(folder: Path) -> Sequence[Path]:
    """Weights of all checkpoints; a crash may have left one of a pair."""
    steps = {path.stem for path in folder.glob("step_*") if path.suffix in {".safetensors", ".pt"}}
    return [folder / f"{step}.safetensors" for step in sorted(steps, reverse=True)]


def _is_whole(weights: Path) -> bool:
    """Whether every byte is there and as it was written."""
    rest = _rest_of(weights)
    try:
        with zipfile.ZipFile(rest) as archive:  # torch saves zip files with checksums
            if archive.testzip() is not None:
                return False
        stored = torch.load(rest, map_location="cpu", weights_only=True, mmap=True)
        return stored.get("format") != FORMAT or stored.get("checksum") == _checksum(weights)
    except (OSError, RuntimeError, zipfile.BadZipFile, pickle.PickleError):
        return False


def _checksum(path: Path) -> int:
    """CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            value = zlib.crc32(piece, value)
    return value
