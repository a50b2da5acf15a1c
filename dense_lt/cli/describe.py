"""What is about to be trained, in words: data, model, losses, learning rate, schedule."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel

from dense_lt.cli.cautions import starts_from, warn_of_settings
from dense_lt.cli.training_parts import TrainingParts
from dense_lt.config.detectors import ModelConfig
from dense_lt.config.experiment import ExperimentConfig
from dense_lt.config.model import OneStageConfig
from dense_lt.config.sampling import RepeatFactorSamplerConfig, SamplerConfig
from dense_lt.data.categories import CategoryTable
from dense_lt.data.epochs.describe import describe_draws
from dense_lt.data.order.build import build_order
from dense_lt.data.table import AnnotationTable
from dense_lt.utils import distributed

logger = logging.getLogger(__name__)


def describe(config: ExperimentConfig, parts: TrainingParts) -> str:
    """Several aligned lines; what is doubtful goes to the log."""
    warn_of_settings(config, parts)
    lines = [
        *_data(config, parts),
        ("model", config.model.kind),
        *(("", f"{name} {_value(value)}") for name, value in parts.detector.summary().items()),
        ("", f"backbone from {starts_from(config.model)}"),
        *_losses(config.model),
        *_optimization(config, parts),
    ]
    return "\n".join(f"{title:<10} {text}" for title, text in lines)


def _data(config: ExperimentConfig, parts: TrainingParts) -> list[tuple[str, str]]:
    train, val, categories = parts.data
    assert train is not None, "training builds both splits"
    assert val is not None, "training builds both splits"
    draws = build_order(train, config.data, seed=config.seed, batch_size=1).expected()
    warn_if_idle(config.data.sampler, draws, categories)
    return [
        ("data", f"train: {_table(train.table)}"),
        ("", f"val: {_table(val.table)}"),
        ("classes", _classes(categories)),
        ("sampler", _section(config.data.sampler)),
        *(("", line) for line in describe_draws(draws)),
    ]


def _table(table: AnnotationTable) -> str:
    return f"{len(table):,} images, {len(table.labels):,} instances ({table.source})"


def _classes(categories: CategoryTable) -> str:
    groups = ", ".join(f"{count} {group}" for group, count in categories.group_sizes().items())
    return f"{len(categories)}: {groups}"


def warn_if_idle(sampler: SamplerConfig, draws: np.ndarray, categories: CategoryTable) -> None:
    """Tell when repeat factors were asked for and all are 1."""
    if not isinstance(sampler, RepeatFactorSamplerConfig) or (draws != 1).any():
        return
    counts = [count for count in categories.image_counts if count] or [0]
    logger.warning(
        "data.sampler: no image is repeated by threshold %g and rounding %s: the rarest class is "
        "in %d of %d images; raise data.sampler.threshold, or set data.sampler.kind=random",
        sampler.threshold,
        sampler.rounding,
        min(counts),
        len(draws),
    )


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
        *([("masks", _section(model.mask))] if model.mask else []),
    ]


def _optimization(config: ExperimentConfig, parts: TrainingParts) -> list[tuple[str, str]]:
    train, optimizer = config.train, config.optimizer
    processes = distributed.world_size()
    number = "as many as it takes" if train.micro_batches == "auto" else train.micro_batches
    pieces = "" if number == 1 else f" in pieces: {number}"
    rate = parts.optimizer.param_groups[0]["initial_lr"]
    return [
        ("optimizer", _section(optimizer)),
        (
            "lr",
            f"{optimizer.lr:g} for {optimizer.base_batch_size} images, so {rate:g} for "
            f"{train.batch_size}",
        ),
        (
            "schedule",
            f"{config.schedule.kind}: {parts.schedule}; the last step at "
            f"{parts.schedule(parts.periods.total - 1):.3g} of the rate",
        ),
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
