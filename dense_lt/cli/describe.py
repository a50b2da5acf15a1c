"""What is about to be trained, in words: data, model, losses, learning rate, schedule."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel

from dense_lt.cli.training_parts import TrainingParts
from dense_lt.config.data import RandomSamplerConfig
from dense_lt.config.detectors import ModelConfig
from dense_lt.config.experiment import ExperimentConfig
from dense_lt.config.model import OneStageConfig
from dense_lt.data.build import build_repeat_factors
from dense_lt.data.categories import CategoryTable
from dense_lt.data.table import AnnotationTable
from dense_lt.utils import distributed

logger = logging.getLogger(__name__)

FACTOR_EDGES = (1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
"""Lower bounds of the histogram's ranges; a factor of exactly 1 has a line of its own."""


def describe(config: ExperimentConfig, parts: TrainingParts) -> str:
    """Several aligned lines."""
    lines = [
        *_data(config, parts),
        ("model", config.model.kind),
        *(("", f"{name} {_value(value)}") for name, value in parts.detector.summary().items()),
        *_losses(config.model),
        *_optimization(config, parts),
    ]
    return "\n".join(f"{title:<10} {text}" for title, text in lines)


def _data(config: ExperimentConfig, parts: TrainingParts) -> list[tuple[str, str]]:
    train, val, categories = parts.data
    assert train is not None, "training builds both splits"
    assert val is not None, "training builds both splits"
    factors = build_repeat_factors(train, config.data)
    if not isinstance(config.data.sampler, RandomSamplerConfig) and factors.max(initial=1) == 1:
        logger.warning(
            "data.sampler: no image is repeated, every class is in more than a fraction %g of the "
            "images; raise data.sampler.threshold, or set data.sampler.kind=random",
            config.data.sampler.threshold,
        )
    return [
        ("data", f"train: {_table(train.table)}"),
        ("", f"val: {_table(val.table)}"),
        ("classes", _classes(categories)),
        ("sampler", _section(config.data.sampler)),
        *(("", line) for line in repeat_factor_lines(factors)),
    ]


def _table(table: AnnotationTable) -> str:
    return f"{len(table):,} images, {len(table.labels):,} instances ({table.source})"


def _classes(categories: CategoryTable) -> str:
    groups = ", ".join(f"{count} {group}" for group, count in categories.group_sizes().items())
    return f"{len(categories)}: {groups}"


def repeat_factor_lines(factors: np.ndarray) -> list[str]:
    """Histogram of repeat factors (I,), one line a range that is not empty."""
    once = int((factors == 1).sum())
    lines = [f"repeat factor 1: {once:,} images"] if once else []
    uppers = (*FACTOR_EDGES[1:], np.inf)
    for lower, upper in zip(FACTOR_EDGES, uppers, strict=True):
        count = int(((factors > 1) & (factors >= lower) & (factors < upper)).sum())
        if count:
            lines.append(f"repeat factor {lower:g} to {upper:g}: {count:,} images")
    return lines


def _losses(model: ModelConfig) -> list[tuple[str, str]]:
    lines = [
        ("loss", f"classification: {_section(model.loss)}"),
        ("", f"box: {_section(model.box_loss)}"),
    ]
    if isinstance(model, OneStageConfig):
        quality = _section(model.quality_loss) if model.head.quality else "none"
        return [*lines, ("", f"quality: {quality}")]
    return [
        *lines,
        ("proposals", _section(model.proposals)),
        ("regions", _section(model.regions)),
    ]


def _optimization(config: ExperimentConfig, parts: TrainingParts) -> list[tuple[str, str]]:
    train, optimizer = config.train, config.optimizer
    processes = distributed.world_size()
    pieces = f" in {train.micro_batches} pieces" if train.micro_batches > 1 else ""
    rate = parts.optimizer.param_groups[0]["initial_lr"]
    return [
        ("optimizer", _section(optimizer)),
        (
            "lr",
            f"{optimizer.lr:g} for {optimizer.base_batch_size} images, so {rate:g} for "
            f"{train.batch_size}",
        ),
        ("schedule", f"{config.schedule.kind}: {parts.schedule}"),
        (
            "length",
            f"{parts.periods.total:,} steps of {train.batch_size} images "
            f"({processes} x {train.batch_size // processes}{pieces}), "
            f"{parts.steps_per_epoch:g} steps an epoch",
        ),
        ("precision", f"{train.precision} on {parts.device}"),
    ]


def _section(section: BaseModel) -> str:
    """`kind, key value, ...` of a settings section, every key."""
    values = section.model_dump(mode="json")
    kind = values.pop("kind", None)
    return ", ".join(text for text in (kind, _values(values)) if text)


def _values(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in values.items())


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return f"({_values(value)})"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_value, value))}]"
    return str(value)
