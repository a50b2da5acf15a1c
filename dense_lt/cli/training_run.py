"""A training run: put the parts together, take up a checkpoint, fit, say how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime

import torch
import yaml

from dense_lt.cli.describe import describe
from dense_lt.cli.evaluation_run import prepare_evaluation
from dense_lt.cli.training_parts import TrainingParts, build_parts
from dense_lt.config.experiment import ExperimentConfig
from dense_lt.config.load import save_config, with_defaults
from dense_lt.data.build import build_train_loader
from dense_lt.data.loading import BatchLoader
from dense_lt.engine.build import (
    build_checkpoint_writer,
    build_recorder,
    build_step,
    images_per_process,
    resolved,
)
from dense_lt.engine.checkpoint import Checkpoint, restore_training
from dense_lt.engine.loop import Periods, fit
from dense_lt.engine.resume import (
    check_categories,
    check_config,
    find_checkpoint,
    own_random_states,
    restore_optimizer,
)
from dense_lt.engine.run_folder import (
    RunFolder,
    check_free,
    clear,
    given_back,
    occupied,
    write_environment,
)
from dense_lt.engine.step import TrainingStep
from dense_lt.engine.trackers import check_trackers
from dense_lt.engine.writers import Metrics, has_evaluation
from dense_lt.structures import Batch
from dense_lt.utils import distributed
from dense_lt.utils.environment import command, git_commit, versions
from dense_lt.utils.errors import ConfigError
from dense_lt.utils.logs import log_to_file

logger = logging.getLogger(__name__)


def train(config: ExperimentConfig, device: torch.device, *, resume: bool, overwrite: bool) -> int:
    """Train and evaluate; returns the exit status.

    Raises:
        ConfigError, DataError: the run cannot start, or not go on, like this.
        FloatingPointError: the loss is not finite any more.
    """
    check_trackers(config.trackers)
    run = RunFolder(config.run_folder)
    check_free(run, resume=resume, overwrite=overwrite)
    parts, checkpoint = _take_up(config, device, run, resume=resume)
    evaluate = _evaluation(config, parts, run)  # reads the ground truth: before anything is written
    with occupied(run) if distributed.is_main() else nullcontext():
        return _train(config, run, parts, checkpoint, evaluate)


def _take_up(
    config: ExperimentConfig, device: torch.device, run: RunFolder, *, resume: bool
) -> tuple[TrainingParts, Checkpoint | None]:
    """The parts of a run as they are at its start, or at the checkpoint it goes on from."""
    checkpoint = find_checkpoint(run) if resume else None
    if checkpoint:
        stored = dict(with_defaults(checkpoint.config))
        check_config(replace(checkpoint, config=stored), resolved(config))
    parts = build_parts(config, device, resumed=checkpoint is not None)
    if checkpoint:
        _restore(parts, checkpoint)
    return parts, checkpoint


def _train(
    config: ExperimentConfig,
    run: RunFolder,
    parts: TrainingParts,
    checkpoint: Checkpoint | None,
    evaluate: Callable[[int], Metrics],
) -> int:
    """From the first step to the exit status, in a folder that is this run's alone."""
    done = checkpoint.step if checkpoint else 0
    if distributed.is_main():
        _start_folder(run, config, parts, done=done)
    distributed.barrier()
    logger.info("%s, from step %d on\n%s", config.name, done, describe(config, parts))
    categories, detector, periods = parts.data.categories, parts.detector, parts.periods
    training_step = _build_step(config, parts, run, checkpoint)
    with given_back(run) if not done and distributed.is_main() else nullcontext():
        recorder = build_recorder(config, detector, categories, run=run, periods=periods, done=done)
    with (
        closing(recorder),
        closing(
            build_checkpoint_writer(
                config,
                detector,
                parts.optimizer,
                categories,
                run=run,
                average=parts.average,
                fit=training_step.fit,
            )
        ) as save,
    ):

        def evaluate_and_rank(step: int) -> Metrics:
            metrics = evaluate(step)
            save.keep_if_best(step, metrics)
            return metrics

        if _lacks_evaluation(run, periods, done):
            recorder.evaluated(done, evaluate_and_rank(done))
        stopped = fit(
            training_step,
            _batches(config, parts, start=done * config.train.batch_size),
            done=done,
            periods=periods,
            recorder=recorder,
            save=save,
            evaluate=evaluate_and_rank,
            random_states=own_random_states(checkpoint) if checkpoint else None,
        )
    if stopped is None:
        return 0
    logger.warning("stopped by %s; the same command with --resume goes on", stopped.name)
    return 128 + stopped


def _lacks_evaluation(run: RunFolder, periods: Periods, done: int) -> bool:
    """Whether a run was left in the evaluation after step `done`; that at the end comes anyway."""
    due = periods.evaluate is not None and 0 < done < periods.total and not done % periods.evaluate
    return distributed.broadcast_object(due and not has_evaluation(run.metrics, done))


def dry_run(config: ExperimentConfig, device: torch.device, *, resume: bool) -> int:
    """Show what would be trained, try one batch forward and backward, write nothing.

    Raises:
        ConfigError, DataError: the run could not start, or not go on.
        FloatingPointError: the loss of the first batch is not finite.
    """
    check_trackers(config.trackers)
    run = RunFolder(config.run_folder)
    parts, checkpoint = _take_up(config, device, run, resume=resume)
    settings = yaml.safe_dump(dict(resolved(config)), sort_keys=False, width=100)
    _say(f"{settings}\n{describe(config, parts)}")
    done, total = checkpoint.step if checkpoint else 0, parts.periods.total
    if checkpoint:
        what = f"go on with step {done + 1} of {total}" if done < total else "evaluate again"
        _say(f"resume     {run.path} is at step {done}; it would {what}")
    _evaluation(config, parts, run)  # for what is wrong with it
    parts.detector.train()
    start = min(done, total - 1) * config.train.batch_size
    batch = next(iter(_batches(config, parts, start=start))).to(device)
    losses = _build_step(config, parts, run, checkpoint).backward(batch)
    shown = ", ".join(f"{name} {loss.item():.4f}" for name, loss in losses.items())
    shape = " x ".join(map(str, batch.images.pixels.shape))
    objects = sum(len(target["labels"]) for target in batch.targets)
    _say(f"one batch  {shape} with {objects} objects, forward and backward: {shown}")
    _say("dry run: nothing was trained or written")
    return 0


def prepare_steps(
    config: ExperimentConfig, device: torch.device
) -> tuple[TrainingStep, Iterator[Batch]]:
    """What makes the steps of a run, and its batches from the first one on; writes nothing.

    Raises:
        ConfigError, DataError: the run could not start.
    """
    parts = build_parts(config, device)
    step = _build_step(config, parts, RunFolder(config.run_folder))
    return step, iter(_batches(config, parts, start=0))


def _say(text: str) -> None:
    if distributed.is_main():
        print(text)  # noqa: T201 - the output that --dry-run is asked for


def _build_step(
    config: ExperimentConfig,
    parts: TrainingParts,
    run: RunFolder,
    checkpoint: Checkpoint | None = None,
) -> TrainingStep:
    return build_step(
        config.train,
        parts.detector,
        parts.optimizer,
        parts.schedule,
        device=parts.device,
        run=run,
        pieces=checkpoint.micro_batches if checkpoint else 1,
    )


def _batches(config: ExperimentConfig, parts: TrainingParts, *, start: int) -> BatchLoader:
    assert parts.data.train is not None, "training builds both splits"
    return build_train_loader(
        parts.data.train,
        config.data,
        batch_size=images_per_process(config.train),
        seed=config.seed,
        start=start,
        samples=parts.periods.total * config.train.batch_size,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )


def _evaluation(
    config: ExperimentConfig, parts: TrainingParts, run: RunFolder
) -> Callable[[int], Metrics]:
    """What the loop calls; only the evaluation at the end writes predictions and results."""
    _, val, categories = parts.data
    assert val is not None, "training builds both splits"
    best = config.train.keep_best
    prepared = prepare_evaluation(config, val, categories, parts.device, best=best)

    def evaluate(step: int) -> Metrics:
        folder = run.evaluation if step == parts.periods.total else None
        with parts.average.in_place() if parts.average else nullcontext():
            headline, *_ = prepared(parts.detector, step, folder)
        return headline.metrics

    return evaluate


def _restore(parts: TrainingParts, checkpoint: Checkpoint) -> None:
    if checkpoint.step > parts.periods.total:
        raise ConfigError(
            f"--resume: the run has {checkpoint.step} steps behind it, but its length is now "
            f"{parts.periods.total}; raise train.steps or train.epochs."
        )
    check_categories(checkpoint, parts.data.categories)
    restore_training(parts.detector, checkpoint)
    if parts.average:
        parts.average.restore(checkpoint.model, steps=checkpoint.step)
    restore_optimizer(parts.optimizer, checkpoint.optimizer)


def _start_folder(
    run: RunFolder, config: ExperimentConfig, parts: TrainingParts, *, done: int
) -> None:
    if not done:
        clear(run)
    run.path.mkdir(parents=True, exist_ok=True)
    log_to_file(run.log)
    save_config(config, run.config)
    parts.data.categories.save(run.categories)
    assert parts.data.train is not None, "both splits are built"
    facts = {
        "command": command(),
        "git_commit": git_commit(),
        "versions": versions(),
        "device": _device_name(parts.device),
        "processes": distributed.world_size(),
        "threads": torch.get_num_threads(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "training_data": parts.data.train.table.digest,
    }
    write_environment(run, facts, step=done)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
