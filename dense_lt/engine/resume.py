"""May this run go on from that checkpoint, and from where?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import yaml
from torch.optim import Optimizer

from dense_lt.data.categories import CategoryTable
from dense_lt.engine.checkpoint import (
    Checkpoint,
    has_checkpoint,
    latest_checkpoint,
    load_checkpoint,
)
from dense_lt.engine.run_folder import RunFolder
from dense_lt.engine.writers import read_records
from dense_lt.utils import distributed
from dense_lt.utils.errors import ConfigError, DataError
from dense_lt.utils.seeding import RandomStates

_logger = logging.getLogger(__name__)

MAY_CHANGE = (
    "name",
    "output",
    "device",
    "threads",
    "evaluation",
    "trackers",
    "wandb",
    "mlflow",
    "data.workers",
    "data.prefetch_batches",
    "data.cache_images_mb",
    "data.cache_annotations",
    "data.dataset.root",
    "data.dataset.folder",
    "train.steps",
    "train.epochs",
    "train.log_every",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.keep_best",
    "train.micro_batches",
    "train.activation_checkpointing",
    "train.channels_last",
    "train.compile",
    "model.head.fused_loss",
    "optimizer.fused",
    "train.evaluate_every",
    "train.statistics_every",
)
"""Settings, and sections, that a resumed run may set otherwise: they do not move a weight (by
more than a rounding; docs/speed.md says which), or only say how long the run is. (A cosine schedule
ends with the run, so it is stretched.)"""


def find_checkpoint(run: RunFolder) -> Checkpoint | None:
    """The checkpoint a run goes on from; None, said in the log, when it has none yet.

    Raises:
        ConfigError: it had some, and they are gone.
        DataError: no checkpoint can be read, or the processes do not see the same one.
    """
    checkpoint = None
    if has_checkpoint(run.path):
        checkpoint = load_checkpoint(latest_checkpoint(run.path))
    else:
        _check_not_lost(run)
    steps = distributed.gather_objects(checkpoint.step if checkpoint else 0)
    if len(set(steps)) > 1:
        raise DataError(
            f"{run.checkpoints}: the processes find checkpoints of different steps: {steps}; all "
            "must see the same files. Put `output` on a file system that all machines share."
        )
    if checkpoint is None:
        _logger.warning("--resume: %s has no checkpoint yet; starting at the beginning", run.path)
    return checkpoint


def _check_not_lost(run: RunFolder) -> None:
    """Refuse to begin again where a run has left more than one that was ended before it saved.

    A checkpoint is written before every evaluation, and the second one waits for the first.

    Raises:
        ConfigError: the run had a checkpoint.
    """
    records = [record for record in read_records(run.metrics) if record is not None]
    reached = max((record["step"] for record in records), default=0)
    if (
        (run.checkpoints / "latest").is_file()
        or (run.evaluation / "results.json").is_file()
        or any(record["kind"] == "evaluation" for record in records)
        or reached > 2 * _checkpoint_every(run)
    ):
        raise ConfigError(
            f"--resume: the run in {run.path} has come to step {reached}, but its checkpoints are "
            f"gone. Put them back into {run.checkpoints}; or give --overwrite, which deletes what "
            "is left of it and starts again, or another name=..."
        )


def _checkpoint_every(run: RunFolder) -> int:
    """As the run was started; 0 if it does not say."""
    stored = yaml.safe_load(run.config.read_text(encoding="utf-8")) if run.config.is_file() else {}
    return ((stored or {}).get("train") or {}).get("checkpoint_every", 0)


def restore_optimizer(optimizer: Optimizer, stored: Mapping[str, Any]) -> None:
    """Load the state of an optimizer, but not whether its update is fused: that may change."""
    columns = zip(stored["param_groups"], optimizer.param_groups, strict=True)
    groups = [{**old, "fused": now["fused"]} for old, now in columns]
    optimizer.load_state_dict({**stored, "param_groups": groups})


def own_random_states(checkpoint: Checkpoint) -> RandomStates | None:
    """Random states of this process; None, with a warning, if their number has changed."""
    stored, processes = checkpoint.random_states, distributed.world_size()
    if len(stored) != processes:
        _logger.warning(
            "--resume: the run had %d processes, now it has %d; it goes on with fresh random "
            "states, and equals an uninterrupted run only to rounding",
            len(stored),
            processes,
        )
        return None
    return stored[distributed.rank()]


def check_categories(checkpoint: Checkpoint, categories: CategoryTable) -> None:
    """Make sure that label k still means the same class.

    Raises:
        DataError: the class tables differ; names the first difference.
    """
    stored = CategoryTable.from_json(checkpoint.categories)
    mend = "Use the annotation file of the run, or start a new run."
    if len(stored) != len(categories):
        raise DataError(
            f"checkpoint of step {checkpoint.step}: {len(stored)} classes, but the data have "
            f"{len(categories)}. {mend}"
        )
    for field, values in stored.to_json().items():
        for label, (old, new) in enumerate(zip(values, getattr(categories, field), strict=True)):
            if old != new:
                raise DataError(
                    f"checkpoint of step {checkpoint.step}: class {label} ({stored.names[label]}): "
                    f"{field} is {old!r} in the checkpoint and {new!r} in the data. {mend}"
                )


def check_config(checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
    """Make sure that a run goes on as it began.

    Raises:
        ConfigError: settings outside MAY_CHANGE differ; lists them.
    """
    stored, current = _flatten(checkpoint.config), _flatten(config)
    lines = [
        f"{key}: {stored.get(key)!r} in the checkpoint, {current.get(key)!r} now"
        for key in sorted(stored.keys() | current.keys())
        if stored.get(key) != current.get(key) and not _may_change(key)
    ]
    if lines:
        raise ConfigError(
            f"--resume: the run of step {checkpoint.step} was started with other settings:\n  "
            + "\n  ".join(lines)
            + "\nSet them as they were, or give the new run another name=..."
        )
    lengths = [
        key for key in ("train.steps", "train.epochs") if stored.get(key) != current.get(key)
    ]
    if lengths:
        _logger.warning(
            "--resume: the run has another length now (%s). Its learning rate followed the old one "
            "up to step %d, so the result is not that of a run that had this length from the start",
            ", ".join(
                f"{key}: {stored.get(key)} before, {current.get(key)} now" for key in lengths
            ),
            checkpoint.step,
        )


def _may_change(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in MAY_CHANGE)


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
