"""In what do runs differ besides their numbers, and which of that makes them unlike?"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from dense_lt.report.runs import Run

SEED_KEYS = ("seed", "data.dataset.seed")
"""Runs that differ only in these are repetitions of one experiment."""

NAME_KEYS = ("name", "output")
"""Where a run was put; says nothing of what it did."""

MASKS_KEY = "evaluation.iou_types"
"""Whether masks are scored beside boxes, which changes no score of boxes, but has a cost."""

ROOT_KEY = "data.dataset.root"
"""Where the data lie; on one machine another folder is other data."""

START_KEY = "model.init_from"
"""The run whose weights were the start; in a sweep each seed has its own."""

SEEDS_IN_NAME = re.compile(r"([-_. ]+(data|seed)[-_]?\d*)+$")
"""How the names of runs end that differ in their seeds."""

Kind = Literal["data or scoring", "model", "training", "machine"]

# The first that fits decides; every other key is the model's. What is the machine's changes how
# fast a run is or what it writes, not what it learns or how it is scored. Where the data lie is not
# what they are: the ground truth has a digest, and the class table the counts of training images.
_KINDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    (
        "machine",
        (
            *("environment.", "device", "threads", "data.workers", "data.prefetch_batches"),
            *("data.cache_images_mb", "data.cache_annotations"),
            *("data.dataset.folder", "data.dataset.root"),
            *("evaluation.resamples", "evaluation.iou_types"),
            *("train.log_every", "train.evaluate_every", "train.statistics_every"),
            *("train.checkpoint_every", "train.keep_checkpoints"),
            *("train.activation_checkpointing", "train.compile", "optimizer.fused"),
            *("trackers", "wandb.", "mlflow."),
        ),
    ),
    (
        "training",
        (
            *("seed", "train.", "optimizer.", "schedule.", "result.step", "data.sampler."),
            *("data.train_transforms.", "data.aspect_grouping", "data.max_objects_per_image"),
        ),
    ),
    ("data or scoring", ("data.", "evaluation.", "result.")),
)


@dataclass(frozen=True)
class SettingDifference:
    """One dotted key and its value in every experiment, as text; "-" where it is not set."""

    key: str
    values: tuple[str, ...]
    kind: Kind


def flatten(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested sections as dotted keys; lists stay whole."""
    flat: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def different_settings(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Dotted keys in which two configurations on one machine differ, but for names and speed."""
    flat, others = flatten(one), flatten(other)
    for settings in (flat, others):
        if isinstance(root := settings.get(ROOT_KEY), str):
            settings[ROOT_KEY] = str(Path(root).resolve())
    return sorted(
        key
        for key in flat.keys() | others.keys()
        if key not in NAME_KEYS
        and (_kind(key) != "machine" or key in (MASKS_KEY, ROOT_KEY))
        and flat.get(key) != others.get(key)
    )


def experiment_key(run: Run) -> str:
    """Equal for runs that repeat one experiment: same settings but for seeds, names and machine.

    How long the run was trained and how it was scored count too. A run without stored settings is
    an experiment of its own.
    """
    if run.config is None:
        return f"folder {run.folder.resolve()}"
    kept = {
        key: value
        for key, value in _settings(run).items()
        if key not in (*SEED_KEYS, *NAME_KEYS) and _kind(key) != "machine"
    }
    kept.update(_scored_as(run))
    if "data.dataset.seed" in flatten(run.config):  # which other ground truth belongs to
        del kept["result.ground_truth"]
    return json.dumps(kept, sort_keys=True, default=str)


def seeds_of(run: Run) -> tuple[object, ...] | None:
    """The values of SEED_KEYS; None for a run without stored settings."""
    if run.config is None:
        return None
    flat = flatten(run.config)
    return tuple(flat.get(key) for key in SEED_KEYS)


def setting_differences(experiments: Sequence[Sequence[Run]]) -> list[SettingDifference]:
    """Every setting whose values differ between experiments (each a sequence of its runs).

    The seeds of an experiment are listed as a set: other seeds are no difference of kind, but
    other data seeds are other data. Experiments without stored settings are left out of the
    comparison of settings, not of the comparison of results.
    """
    columns = [[_everything(run) for run in runs] for runs in experiments]
    keys = {key for column in columns for flat in column for key in flat} - {*NAME_KEYS}
    found: list[SettingDifference] = []
    for key in keys:
        values = tuple(_shown(flat.get(key, "-") for flat in column) for column in columns)
        known = {
            value for value, runs in zip(values, experiments, strict=True) if _knows(runs, key)
        }
        if len(known) > 1:
            found.append(SettingDifference(key, values, _kind(key)))
    order = get_args(Kind)
    return sorted(found, key=lambda own: (order.index(own.kind), own.key))


def _settings(run: Run) -> dict[str, object]:
    """Dotted, and without the seeds in the name of the run whose weights were the start."""
    flat = flatten(run.config or {})
    if isinstance(start := flat.get(START_KEY), str):
        flat[START_KEY] = SEEDS_IN_NAME.sub("", start)
    return flat


def _knows(runs: Sequence[Run], key: str) -> bool:
    return key.startswith(("result.", "environment.")) or runs[0].config is not None


def _everything(run: Run) -> dict[str, object]:
    environment = {
        key: run.environment[key]
        for key in ("versions", "device", "threads", "git_commit")
        if key in run.environment
    }
    return {
        **_settings(run),
        **_scored_as(run),
        "result.classes": _fingerprint(run),
        **flatten(environment, "environment."),
    }


def _scored_as(run: Run) -> dict[str, object]:
    results = run.results
    return {
        "result.protocol": results.protocol,
        "result.iou_type": results.iou_type,
        "result.max_detections": results.max_detections,
        **flatten(results.rules, "result.rules."),
        "result.images": results.counts.get("images", "-"),
        "result.ground_truth": results.ground_truth or "-",
        "result.step": "-" if results.step is None else results.step,
    }


def _fingerprint(run: Run) -> str:
    """Short, and differs when ids, names, groups or training images of the classes do."""
    digest = hashlib.sha256(repr(run.class_table).encode()).hexdigest()
    return f"{len(run.classes)} classes, table {digest[:8]}"


def _kind(key: str) -> Kind:
    for kind, prefixes in _KINDS:
        if key.startswith(prefixes):
            return kind
    return "model"


def _shown(values: Iterable[object]) -> str:
    texts = {
        value if isinstance(value, str) else json.dumps(value, default=str) for value in values
    }
    return ", ".join(sorted(texts))
