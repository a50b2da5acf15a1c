"""Everything a training run consists of, put together from its configuration."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np
import torch
from torch.optim import Optimizer

from dense_lt.balance.counts import ClassCounts
from dense_lt.balance.statistics import tie_to_classes
from dense_lt.config.experiment import ExperimentConfig
from dense_lt.config.two_stage import TwoStageConfig
from dense_lt.data.build import DataSplits, build_datasets, steps_per_epoch
from dense_lt.engine.acceleration import compile_parts, synchronise_batch_norm
from dense_lt.engine.build import (
    build_average,
    build_optimizer,
    build_periods,
    build_schedule,
)
from dense_lt.engine.ema import WeightAverage
from dense_lt.engine.loop import Periods
from dense_lt.engine.recomputation import recompute_activations
from dense_lt.engine.schedules import Schedule
from dense_lt.engine.start import freeze, init_from
from dense_lt.inference.build import to_device
from dense_lt.models.build import build_detector
from dense_lt.models.detector import Detector
from dense_lt.utils.allocator import keep_freed_memory
from dense_lt.utils.errors import ConfigError, DataError
from dense_lt.utils.seeding import make_deterministic, seed_everything

logger = logging.getLogger(__name__)


class TrainingParts(NamedTuple):
    """What is trained, on what, how, and for how long."""

    device: torch.device
    data: DataSplits
    detector: Detector  # on `device`
    optimizer: Optimizer
    schedule: Schedule
    periods: Periods
    steps_per_epoch: float
    average: WeightAverage | None  # of the detector's weights


def build_parts(
    config: ExperimentConfig, device: torch.device, *, resumed: bool = False
) -> TrainingParts:
    """Seed, read the data, build the rest; equal in every process.

    A `resumed` run gets its weights from its checkpoint, not from `model.init_from`.

    Raises:
        ConfigError, DataError: a setting does not fit the data, or a file cannot be used.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if device.type == "cpu":
        keep_freed_memory()
    make_deterministic(device)
    data = build_datasets(config.data, seed=config.seed, masks=_learns_masks(config))
    assert data.train is not None, "both splits are built"
    _check_federated(config, data)
    _check_outlines(config, data)
    _look_ahead(config, data)
    seed_everything(config.seed)
    classes = data.categories
    counts = ClassCounts(classes.image_counts, classes.instance_counts)
    detector = to_device(build_detector(config.model, len(classes), counts), config, device)
    tie_to_classes(detector, classes.names)
    if config.model.init_from is not None and not resumed:
        logger.info(init_from(detector, config.model.init_from, leave_out=config.model.init_except))
    freeze(detector, config.model.frozen)
    if config.train.sync_batch_norm:
        synchronise_batch_norm(detector, device)
    if config.train.activation_checkpointing:
        logger.info("activations of %d blocks are recomputed", len(recompute_activations(detector)))
    if config.train.compile:
        graphs = config.train.compile == "reduce-overhead"
        compiled = compile_parts(detector, cuda_graphs=graphs)
        logger.info("torch.compile: %s", ", ".join(compiled))
    epoch = steps_per_epoch(data.train, config.data, config.train.batch_size)
    periods = build_periods(config.train, epoch)
    optimizer = build_optimizer(config.optimizer, detector, batch_size=config.train.batch_size)
    return TrainingParts(
        device=device,
        data=data,
        detector=detector,
        optimizer=optimizer,
        schedule=build_schedule(config.schedule, total_steps=periods.total, steps_per_epoch=epoch),
        periods=periods,
        steps_per_epoch=epoch,
        average=build_average(config.train.ema, detector, optimizer),
    )


def _learns_masks(config: ExperimentConfig) -> bool:
    return isinstance(config.model, TwoStageConfig) and config.model.mask is not None


def _check_federated(config: ExperimentConfig, data: DataSplits) -> None:
    """Refuse federated training where the annotations do not say what was looked for.

    Raises:
        ConfigError: they do not.
    """
    assert data.train is not None, "both splits are built"
    table = data.train.table
    if config.model.loss.federated and table.negatives is None:
        raise ConfigError(
            f"model.loss.federated: true, but {table.source} does not say which classes were "
            "looked for in which image (`neg_category_ids`, or a file of verified labels); as in "
            "COCO, all of them count as checked everywhere, and the setting would do nothing. Set "
            "it to false"
        )


def _check_outlines(config: ExperimentConfig, data: DataSplits) -> None:
    """Refuse to learn masks where no object has one, and tell where some have none.

    Raises:
        DataError: none has.
    """
    assert data.train is not None, "both splits are built"
    table = data.train.table
    if not _learns_masks(config) or table.segmentations is None:
        return
    given = table.segmentations.given()[~table.crowd]
    if len(given) and not given.any():
        raise DataError(
            f"{table.source}: no object has a `segmentation`, but the model learns masks; use "
            "annotations with outlines, or set model.mask: null"
        )
    if not given.all():
        logger.warning(
            "%s: %d of %d objects have no `segmentation`; they teach no mask",
            table.source,
            np.count_nonzero(~given),
            len(given),
        )


def _look_ahead(config: ExperimentConfig, data: DataSplits) -> None:
    """Say now what would otherwise be found at the end: validation images, unlearnable classes.

    Raises:
        DataError: the first, the middle or the last validation image cannot be used.
    """
    unseen = [
        name
        for name, count in zip(data.categories.names, data.categories.image_counts, strict=True)
        if count == 0
    ]
    if unseen:
        logger.warning(
            "%d classes have no training image and cannot be learnt, but count in their groups: %s",
            len(unseen),
            ", ".join(unseen[:5]) + (", ..." if len(unseen) > 5 else ""),
        )
    if data.val is not None and len(data.val) and config.data.on_bad_image == "error":
        for index in sorted({0, len(data.val) // 2, len(data.val) - 1}):
            data.val.read_image(index)
