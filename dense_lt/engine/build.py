"""From the optimizer, schedule and train sections to the objects of the engine."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, assert_never

import torch
from torch.optim import SGD, AdamW, Optimizer

from dense_lt.config.averaging import WeightAverageConfig
from dense_lt.config.experiment import ExperimentConfig, TrainConfig
from dense_lt.config.optimization import (
    AdamWConfig,
    CosineScheduleConfig,
    OptimizerConfig,
    ScheduleConfig,
    SgdConfig,
    StepScheduleConfig,
)
from dense_lt.config.trackers import TrackerName
from dense_lt.data.categories import CategoryTable
from dense_lt.engine.checkpoint_writer import CheckpointWriter
from dense_lt.engine.ema import WeightAverage
from dense_lt.engine.loop import Periods
from dense_lt.engine.metrics import Recorder
from dense_lt.engine.optimizers import parameter_groups, scaled_learning_rate
from dense_lt.engine.pieces import MemoryFit
from dense_lt.engine.run_folder import RunFolder
from dense_lt.engine.schedules import CosineSchedule, Schedule, StepSchedule, Warmup
from dense_lt.engine.step import TrainingStep
from dense_lt.engine.trackers import MlflowWriter, Tracked, WandbWriter, start_tracker
from dense_lt.engine.writers import (
    JsonLinesWriter,
    MetricWriter,
    StatisticsWriter,
    TensorBoardWriter,
)
from dense_lt.models.detector import Detector
from dense_lt.utils import distributed
from dense_lt.utils.errors import ConfigError

_logger = logging.getLogger(__name__)

_EQUALIZING = {
    "equalized_focal": "EFL",
    "equalized_quality_focal": "EQFL",
    "eql_v2_focal": "EQL v2 times focal",
}
"""Losses that a ratio near 1 turns into another, and how a warning calls them."""


def images_per_process(section: TrainConfig) -> int:
    """Images that each process contributes to an optimizer step.

    Raises:
        ConfigError: the batch cannot be shared out evenly.
    """
    processes = distributed.world_size()
    pieces = 1 if section.micro_batches == "auto" else section.micro_batches
    if section.batch_size % (processes * pieces):
        raise ConfigError(
            f"train.batch_size: {section.batch_size} images cannot be shared evenly by {processes} "
            f"processes with train.micro_batches={section.micro_batches} each; give a multiple of "
            f"{processes * pieces}."
        )
    return section.batch_size // processes


def build_periods(section: TrainConfig, steps_per_epoch: float) -> Periods:
    """Length and periods of a run in optimizer steps; epochs are rounded up to whole steps."""
    total = section.steps
    if total is None:
        assert section.epochs is not None, "the configuration checks that one of the two is given"
        total = max(math.ceil(section.epochs * steps_per_epoch - 1e-9), 1)
    return Periods(
        total,
        log=section.log_every,
        checkpoint=section.checkpoint_every,
        evaluate=section.evaluate_every,
        statistics=section.statistics_every,
    )


def build_optimizer(section: OptimizerConfig, detector: Detector, *, batch_size: int) -> Optimizer:
    """The optimizer over everything that trains, with the learning rate of the real batch."""
    groups = parameter_groups(
        detector,
        weight_decay=section.weight_decay,
        decay_norm_and_bias=section.decay_norm_and_bias,
        decay_classifier_bias=section.decay_classifier_bias,
        lr_factors=section.lr_factors,
        layer_decay=section.layer_decay,
    )
    lr = scaled_learning_rate(
        section.lr, batch_size=batch_size, base_batch_size=section.base_batch_size
    )
    for group in groups:
        group["lr"] = group["initial_lr"] = lr * group.pop("factor")
    fused = _is_fused(section, detector)
    match section:
        case SgdConfig():
            optimizer: Optimizer = SGD(
                groups, lr=lr, momentum=section.momentum, nesterov=section.nesterov, fused=fused
            )
        case AdamWConfig():
            optimizer = AdamW(groups, lr=lr, betas=section.betas, fused=fused)
        case _:
            assert_never(section)
    return optimizer


def _is_fused(section: OptimizerConfig, detector: Detector) -> bool | None:
    """None where torch shall choose: told False, it would not take its second best (foreach)."""
    on_gpu = next(detector.parameters()).device.type == "cuda"
    return True if section.fused is True or (section.fused == "auto" and on_gpu) else None


def build_schedule(
    section: ScheduleConfig, *, total_steps: int, steps_per_epoch: float
) -> Schedule:
    """The schedule in optimizer steps."""
    unit = steps_per_epoch if section.unit == "epochs" else 1.0
    warmup = Warmup(round(section.warmup * unit), section.warmup_factor, section.warmup_power)
    if warmup.steps >= total_steps:
        _logger.warning(
            "schedule.warmup: %d steps, but the run has only %d, so the full learning rate is "
            "never reached; lower schedule.warmup",
            warmup.steps,
            total_steps,
        )
    match section:
        case StepScheduleConfig():
            milestones = tuple(round(milestone * unit) for milestone in section.milestones)
            _warn_if_late(section, milestones, total_steps, total_steps / unit)
            return StepSchedule(warmup, milestones, section.factor)
        case CosineScheduleConfig():
            end = total_steps - round(section.constant_end * unit)
            if section.constant_end and end <= warmup.steps:
                _logger.warning(
                    "schedule.constant_end: %g %s, of %g in all, leave no time for the cosine "
                    "after the warm-up; lower schedule.constant_end",
                    section.constant_end,
                    section.unit,
                    total_steps / unit,
                )
            return CosineSchedule(warmup, end, section.final_factor)
        case _:
            assert_never(section)


def _warn_if_late(
    section: StepScheduleConfig, milestones: Sequence[int], total_steps: int, length: float
) -> None:
    """Tell milestones (here in steps) that the run, of this `length` in their unit, ends before."""
    late = [
        f"{milestone:g}"
        for milestone, step in zip(section.milestones, milestones, strict=True)
        if step >= total_steps
    ]
    if late:
        _logger.warning(
            "schedule.milestones: %s %s, but the run ends after %g, so the learning rate does not "
            "fall there; set schedule.milestones for this length",
            " and ".join(late),
            section.unit,
            length,
        )


def build_step(
    section: TrainConfig,
    detector: Detector,
    optimizer: Optimizer,
    schedule: Schedule,
    *,
    device: torch.device,
    run: RunFolder,
    pieces: int = 1,
) -> TrainingStep:
    """One optimizer step of this run; `micro_batches: auto` begins with `pieces` if it can."""
    micro_batches = section.micro_batches
    if micro_batches == "auto":
        can = images_per_process(section) % pieces == 0
        micro_batches = MemoryFit(detector, pieces=pieces if can else 1)
    return TrainingStep(
        detector,
        optimizer,
        schedule,
        device=device,
        micro_batches=micro_batches,
        clip_norm=section.clip_norm,
        precision=section.precision,
        failures=run.failures,
    )


def build_average(
    section: WeightAverageConfig | None, detector: Detector, optimizer: Optimizer
) -> WeightAverage | None:
    """The average of the detector's weights, if one is wanted; it follows the optimizer's steps."""
    if section is None:
        return None
    return WeightAverage(detector, optimizer, decay=section.decay, warmup=section.warmup)


def build_recorder(
    config: ExperimentConfig,
    detector: Detector,
    categories: CategoryTable,
    *,
    run: RunFolder,
    periods: Periods,
    done: int,
) -> Recorder:
    """The recorder of this run; it writes in the main process only.

    Raises:
        ConfigError: a tracker of a run that begins cannot be started.
    """
    writers: list[MetricWriter] = []
    statistics_writer = None
    if distributed.is_main():
        writers.append(JsonLinesWriter(run.metrics, done=done))
        with ExitStack() as if_one_fails:
            if_one_fails.callback(lambda: [writer.close() for writer in writers])
            for name in dict.fromkeys(config.trackers):
                start = partial(_tracker, name, config, run, done=done)
                writers += start_tracker(name, start, done=done)
            if_one_fails.pop_all()
        statistics_writer = StatisticsWriter(run.statistics, done=done)
    return Recorder(
        detector,
        categories,
        writers=writers,
        total_steps=periods.total,
        done=done,
        statistics_writer=statistics_writer,
        equalizing=_EQUALIZING.get(config.model.loss.kind),
    )


def _tracker(
    name: TrackerName, config: ExperimentConfig, run: RunFolder, *, done: int
) -> MetricWriter:
    tracked = Tracked(config.name, run, resolved(config))
    match name:
        case "tensorboard":
            return TensorBoardWriter(run.tensorboard, done=done)
        case "wandb":
            return WandbWriter(tracked, **dict(config.wandb))
        case "mlflow":
            local = f"sqlite:///{(config.output / 'mlflow.db').absolute()}"
            return MlflowWriter(
                tracked, experiment=config.mlflow.experiment, uri=config.mlflow.uri or local
            )
        case _:
            assert_never(name)


def build_checkpoint_writer(
    config: ExperimentConfig,
    detector: Detector,
    optimizer: Optimizer,
    categories: CategoryTable,
    *,
    run: RunFolder,
    average: WeightAverage | None = None,
    fit: MemoryFit | None = None,
) -> CheckpointWriter:
    """What saves this run; every process calls it."""
    return CheckpointWriter(
        run.checkpoints,
        detector,
        optimizer,
        batch_size=config.train.batch_size,
        keep=config.train.keep_checkpoints,
        categories=categories,
        config=resolved(config),
        best_metric=config.train.keep_best,
        average=average,
        fit=fit,
    )


def resolved(config: ExperimentConfig) -> Mapping[str, Any]:
    """The configuration as plain Python, for checkpoints."""
    return config.model_dump(mode="json")
