"""Other places for numbers: Weights & Biases and MLflow, on this machine unless told otherwise.

Both packages are optional and are imported when they are asked for. A run keeps its name there, in
`trackers.json` of its folder, and goes on under it when it is resumed.
"""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dense_lt.engine.run_folder import RunFolder, read_own_json, write_atomically
from dense_lt.engine.writers import Metrics, MetricWriter
from dense_lt.utils.errors import ConfigError
from dense_lt.utils.seeding import kept_random_states

_logger = logging.getLogger(__name__)

PACKAGES = {"wandb": ("wandb", "init"), "mlflow": ("mlflow", "MlflowClient")}
"""Tracker -> its package, and what that must have."""

QUIET = {
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
"""Environment, where it says nothing else: nobody is told of errors and use, no step waits long."""

NOT_CURVES = ("time", "eta", "total_steps")
MOST_AT_ONCE = 100  # parameters, says MLflow
LONGEST = 500  # characters of a parameter


@dataclass(frozen=True)
class Tracked:
    """What trackers are told of a run."""

    name: str
    folder: RunFolder
    config: Mapping[str, Any]  # resolved


def import_tracker(name: str) -> Any:
    """The package of a tracker.

    Raises:
        ConfigError: it is not installed.
    """
    package, attribute = PACKAGES[name]
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    try:
        module = importlib.import_module(package)
        getattr(module, attribute)  # a folder of that name in the working directory has nothing
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"trackers: {name} is asked for, but its package cannot be imported ({error}); "
            f"`pip install dense_lt[{name}]`, or take {name} out of `trackers`"
        ) from error
    return module


def check_trackers(names: Sequence[str]) -> None:
    """Make sure that the packages of these trackers can be imported, before anything is written.

    Raises:
        ConfigError: one of them cannot.
    """
    for name in PACKAGES.keys() & set(names):
        import_tracker(name)


class WandbWriter:
    """Curves named `train/...` and `evaluation/...` over `step` in a run of Weights & Biases."""

    def __init__(self, run: Tracked, *, project: str, entity: str | None, mode: str) -> None:
        """Start the run there, or go on with it; see `WandbConfig`."""
        wandb = import_tracker("wandb")
        self._run = wandb.init(
            project=project,
            entity=entity,
            mode=mode,
            name=run.name,
            id=_own_id(run.folder, "wandb", lambda: secrets.token_hex(8)),
            resume="allow",
            dir=str(run.folder.path),
            config=dict(run.config),
            settings=wandb.Settings(silent=True, console="off"),
        )
        # An axis of its own: a run that goes on from a checkpoint may come back to earlier steps.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def write(self, kind: str, step: int, values: Metrics) -> None:
        """Add one point to each curve."""
        self._run.log({"step": step, **curves(kind, values)})

    def close(self) -> None:
        """Hand over what is left; a server may take its time."""
        self._run.finish()


class MlflowWriter:
    """Metrics named `train/...` and `evaluation/...` in a run of MLflow."""

    def __init__(self, run: Tracked, *, experiment: str, uri: str) -> None:
        """Start the run there, or go on with it; see `MlflowConfig`."""
        self._mlflow = import_tracker("mlflow")
        self._client = self._mlflow.MlflowClient(tracking_uri=uri)
        self._id = _own_id(run.folder, "mlflow", lambda: self._create(experiment, run))
        self._client.update_run(self._id, status="RUNNING")

    def _create(self, experiment: str, run: Tracked) -> str:
        known = self._client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else self._client.create_experiment(experiment)
        run_id = self._client.create_run(number, run_name=run.name).info.run_id
        parameters = [
            self._mlflow.entities.Param(_allowed(key), str(value)[:LONGEST])
            for key, value in _flatten(run.config)
        ]
        for start in range(0, len(parameters), MOST_AT_ONCE):
            self._client.log_batch(run_id, params=parameters[start : start + MOST_AT_ONCE])
        return run_id

    def write(self, kind: str, step: int, values: Metrics) -> None:
        """Add one point to each metric."""
        now = int(1000 * time.time())
        metrics = [
            self._mlflow.entities.Metric(_allowed(name), value, now, step)
            for name, value in curves(kind, values).items()
        ]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        """Say that the run has ended."""
        self._client.set_terminated(self._id)


class Forgiven:
    """A tracker that may fail: that is said once, it is left out from then on, training goes on.

    Whatever it draws, training has the random numbers it would have had.
    """

    def __init__(self, name: str, writer: MetricWriter) -> None:
        """`name` of the tracker, for the warning."""
        self._name = name
        self._writer: MetricWriter | None = writer

    def write(self, kind: str, step: int, values: Metrics) -> None:
        """See `MetricWriter`."""
        self._attempt(lambda writer: writer.write(kind, step, values))

    def close(self) -> None:
        """See `MetricWriter`."""
        self._attempt(lambda writer: writer.close())

    def _attempt(self, action: Callable[[MetricWriter], None]) -> None:
        if self._writer is None:
            return
        try:
            with kept_random_states():
                action(self._writer)
        except Exception as error:  # noqa: BLE001 - of any package, for any reason
            self._writer = None
            _logger.warning(
                "trackers: %s has failed and gets nothing more of this run (%s: %s); training goes "
                "on, and metrics.jsonl in the run folder has every number",
                self._name,
                type(error).__name__,
                error,
            )


def start_tracker(
    name: str, start: Callable[[], MetricWriter], *, done: int
) -> Sequence[MetricWriter]:
    """The tracker that `start` gives, forgiven; none if a run that goes on cannot reach it.

    Args:
        name: of the tracker.
        start: may raise anything.
        done: optimizer steps that lie behind.

    Raises:
        ConfigError: a run that is about to begin cannot start it.
    """
    try:
        with kept_random_states():
            return [Forgiven(name, start())]
    except ConfigError:
        raise
    except Exception as error:  # of any package, for any reason
        text = f"trackers: {name} could not be started ({type(error).__name__}: {error})"
        if not done:
            raise ConfigError(
                f"{text}; see the section `{name}` of the configuration (docs/speed.md), or take "
                f"{name} out of `trackers`"
            ) from error
        _logger.warning("%s; the run goes on without it", text)
        return []


def curves(kind: str, values: Metrics) -> dict[str, float]:
    """`kind/name` -> number, of those that are finite and make a curve."""
    return {
        f"{kind}/{name}": value
        for name, value in values.items()
        if value is not None and math.isfinite(value) and name not in NOT_CURVES
    }


def _own_id(folder: RunFolder, tracker: str, make: Callable[[], str]) -> str:
    """What this run is called by `tracker`; made, and stored, the first time."""
    path: Path = folder.trackers
    stored = read_own_json(path, held="the trackers' names of it")
    if tracker not in stored:
        stored[tracker] = make()
        write_atomically(path, json.dumps(stored) + "\n")
    return stored[tracker]


def _allowed(name: str) -> str:
    """MLflow takes letters, digits and these signs."""
    return re.sub(r"[^\w\-./: ]", "_", name, flags=re.ASCII)


def _flatten(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    """Dotted key and value of every setting."""
    found: list[tuple[str, object]] = []
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            found += _flatten(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found
