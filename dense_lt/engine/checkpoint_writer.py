"""When a run is saved, and which checkpoint is the best: beside the training, not before it."""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dense_lt.data.categories import CategoryTable
from dense_lt.engine.checkpoint import Checkpoint, copy_checkpoint, save_checkpoint
from dense_lt.engine.ema import WeightAverage
from dense_lt.engine.pieces import MemoryFit
from dense_lt.engine.run_folder import read_own_json, write_atomically
from dense_lt.utils import distributed
from dense_lt.utils.environment import versions
from dense_lt.utils.errors import ConfigError, MachineError
from dense_lt.utils.seeding import random_states

_logger = logging.getLogger(__name__)


class CheckpointWriter:
    """Saves a run as it stands. Every process must call it together; the main one writes.

    The state is copied at once and written by a thread, at most one at a time; `close` waits for
    it. What the thread could not do, the next call or `close` raises.
    """

    def __init__(  # noqa: PLR0913 - a checkpoint holds many things
        self,
        folder: Path,
        detector: nn.Module,
        optimizer: Optimizer,
        *,
        batch_size: int,
        keep: int,
        categories: CategoryTable,
        config: Mapping[str, Any],
        best_metric: str | None = None,
        average: WeightAverage | None = None,
        fit: MemoryFit | None = None,
    ) -> None:
        """Remember what to save.

        Args:
            folder: where checkpoints go.
            detector: its parameters and buffers.
            optimizer: its state.
            batch_size: images per step over all processes.
            keep: how many of the newest stay.
            categories: the class table.
            config: the resolved configuration.
            best_metric: the metric whose best checkpoint stays as `best`, None for no such copy.
            average: of the weights; saved as the model, with the weights as trained beside it.
            fit: what knows how many pieces a batch has to be cut into; None saves 1.
        """
        self._folder = folder
        self._detector = detector
        self._optimizer = optimizer
        self._batch_size = batch_size
        self._keep = keep
        self._categories = categories.to_json()
        self._config = dict(config)
        self._best_metric = best_metric
        self._average = average
        self._fit = fit
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[Path] | None = None

    def __call__(self, step: int) -> None:
        """Save the state after optimizer step `step`.

        Raises:
            MachineError: an earlier one could not be written.
        """
        states = distributed.gather_objects(random_states())
        if not distributed.is_main():
            return
        self.wait()
        checkpoint = Checkpoint(
            step=step,
            samples_seen=step * self._batch_size,
            model=_copies(self._average or self._detector),
            optimizer=_copy_of_state(self._optimizer),
            random_states=states,
            categories=self._categories,
            config=self._config,
            versions=versions(),
            trained=_copies(self._detector) if self._average else {},
            micro_batches=self._fit.pieces if self._fit else 1,
        )
        self._writing = self._thread.submit(self._write, checkpoint)

    def keep_if_best(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Copy the checkpoint of `step` to `best` if its metric is the highest so far.

        Raises:
            ConfigError: the evaluation knows no such metric.
        """
        name = self._best_metric
        if name is None or not distributed.is_main():
            return
        if name not in metrics:
            raise ConfigError(
                f"train.keep_best: the evaluation gives no {name!r}; choose one of "
                f"{', '.join(metrics)}"
            )
        value, note = metrics[name], self._folder / "best.json"
        if value is None or math.isnan(value):
            return
        best = read_own_json(note, held="the best score so far")
        if best.get("metric") == name and best["step"] < step and best["value"] >= value:
            return
        # an evaluation follows the checkpoint of its step, which an earlier start may have written
        path = self.wait() or self._folder / f"step_{step:08d}.safetensors"
        best_path = copy_checkpoint(path, "best")
        facts = {"metric": name, "value": value, "step": step}
        write_atomically(note, json.dumps(facts) + "\n")
        _logger.info("step %d: best %s so far, %.4f; kept as %s", step, name, value, best_path)

    def wait(self) -> Path | None:
        """Until the last checkpoint is on disk; its file of weights."""
        return None if self._writing is None else self._writing.result()

    def close(self) -> None:
        """Wait for the last checkpoint.

        Raises:
            MachineError: it could not be written.
        """
        self._thread.shutdown(wait=True)
        self.wait()

    def _write(self, checkpoint: Checkpoint) -> Path:
        try:
            path = save_checkpoint(self._folder, checkpoint, keep=self._keep)
        except Exception as error:  # safetensors and torch raise their own kinds on a full disk
            for draft in self._folder.glob("*.tmp"):
                draft.unlink(missing_ok=True)  # gives the space back
            raise MachineError(
                f"{self._folder}: the checkpoint of step {checkpoint.step} could not be written: "
                f"{error}. Earlier ones are untouched; make room there (train.keep_checkpoints, "
                "output) and go on with --resume"
            ) from error
        _logger.info("step %d: wrote %s", checkpoint.step, path)
        return path


def _copies(source: nn.Module | WeightAverage) -> dict[str, Tensor]:
    return {name: _copy(tensor) for name, tensor in source.state_dict().items()}


def _copy_of_state(optimizer: Optimizer) -> dict[str, Any]:
    state = optimizer.state_dict()
    own = {
        number: {k: _copy(v) if isinstance(v, Tensor) else v for k, v in values.items()}
        for number, values in state["state"].items()
    }
    return {"state": own, "param_groups": copy.deepcopy(state["param_groups"])}


def _copy(tensor: Tensor) -> Tensor:
    """On the CPU, and not the memory that training goes on to change."""
    return torch.empty_like(tensor, device="cpu", memory_format=torch.contiguous_format).copy_(
        tensor
    )
