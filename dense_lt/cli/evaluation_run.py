"""Evaluate one run folder: build what its configuration says, load its weights, predict, score."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from dense_lt.config.experiment import ExperimentConfig
from dense_lt.config.load import load_config
from dense_lt.config.openimages import OpenImagesConfig
from dense_lt.data.build import annotation_files, build_datasets, build_val_loader
from dense_lt.data.categories import CategoryTable
from dense_lt.data.dataset import DetectionDataset
from dense_lt.data.openimages.build import open_images_files
from dense_lt.engine.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint
from dense_lt.engine.run_folder import RunFolder
from dense_lt.evaluation.build import build_evaluator, build_open_images_evaluator
from dense_lt.evaluation.evaluator import Evaluator, RunFacts
from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.results import EvaluationResult
from dense_lt.inference.build import load_detector, run_config
from dense_lt.models.detector import Detector
from dense_lt.utils import distributed
from dense_lt.utils.allocator import keep_freed_memory
from dense_lt.utils.devices import choose_device
from dense_lt.utils.errors import ConfigError


def evaluate_run(
    folder: Path,
    out: Path,
    overrides: Sequence[str],
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> list[EvaluationResult]:
    """Predict and score; under torchrun every process predicts its share of the images.

    Args:
        folder: of the run.
        out: gets predictions.json, results.json and per_class.csv.
        overrides: ``section.key=value``, over the configuration of the run.
        checkpoint: instead of the latest.
        resume: go on where an evaluation into `out` was interrupted.

    Raises:
        ConfigError, DataError: the folder is no run, or something it needs is gone.
    """
    run = RunFolder(folder)
    config = load_config(run_config(folder), overrides)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = choose_device(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    with distributed.process_group(device):
        stored = load_checkpoint(checkpoint or latest_checkpoint(run.path))
        return _evaluate(config, device, stored, out, resume=resume)


def _evaluate(
    config: ExperimentConfig, device: torch.device, stored: Checkpoint, out: Path, *, resume: bool
) -> list[EvaluationResult]:
    categories = CategoryTable.from_json(stored.categories)
    data = build_datasets(config.data, seed=config.seed, categories=categories, splits=("val",))
    assert data.val is not None, "it was asked for"
    detector = load_detector(stored, config, device)
    evaluate = prepare_evaluation(config, data.val, categories, device, resume=resume)
    return evaluate(detector, stored.step, out)


def prepare_evaluation(
    config: ExperimentConfig,
    val: DetectionDataset,
    categories: CategoryTable,
    device: torch.device,
    *,
    resume: bool = False,
    best: str | None = None,
) -> Callable[[Detector, int, Path | None], list[EvaluationResult]]:
    """Read the ground truth; what comes back evaluates (detector, its step, folder or None).

    Under torchrun every process must call it, and predicts its share of the images. With `resume`
    it keeps what was predicted into the folder before. `best` is the metric by which checkpoints
    will be compared, if they are.

    Raises:
        ConfigError: there will be no number called `best`.
        DataError: the ground truth cannot be used.
    """
    evaluator = _build_evaluator(config, val, categories, device)
    if best is not None:
        _check_metric(best, evaluator, masks="segm" in config.evaluation.iou_types)
    build_loader = partial(
        build_val_loader,
        val,
        config.data,
        batch_size=config.evaluation.batch_size,
        images=config.evaluation.images,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )
    loader = build_loader()

    images = _digest_of_images(val)

    def evaluate(detector: Detector, step: int, folder: Path | None) -> list[EvaluationResult]:
        facts = RunFacts(config.name, step, config.model_dump(mode="json"), images)
        if folder is None or not resume:
            return evaluator(detector, loader, facts, folder)
        done = evaluator.predicted_before(folder, facts)
        return evaluator(detector, build_loader(done=done), facts, folder, resume=True)

    return evaluate


def _digest_of_images(val: DetectionDataset) -> str:
    """What tells apart lists of images that lie at the same path."""
    digest = hashlib.sha256()
    for index, image_id in enumerate(val.table.image_ids.tolist()):
        digest.update(f"{image_id} {val.table.file_names[index]}\n".encode())
    return digest.hexdigest()[:16]


def _check_metric(name: str, evaluator: Evaluator, *, masks: bool) -> None:
    """Make sure that there are such numbers, by scoring no detections at all.

    Raises:
        ConfigError: the evaluation does not know it, or it is undefined whatever is predicted.
    """
    headline, *_ = evaluator.score(Predictions.empty(masks=masks), run="", resample=False)
    defined = [own for own, value in headline.metrics.items() if value is not None]
    if name in defined:
        return
    fault = f"the evaluation gives no {name!r}"
    if name in headline.metrics:
        reason = headline.undefined.get(name.split("@")[0], "undefined")
        fault = f"{name} is n/a with these validation data ({reason}), so no checkpoint can be best"
    raise ConfigError(f"train.keep_best: {fault}; choose one of {', '.join(defined)}")


def _build_evaluator(
    config: ExperimentConfig,
    val: DetectionDataset,
    categories: CategoryTable,
    device: torch.device,
) -> Evaluator:
    """By the rules of the data set."""
    if isinstance(config.data.dataset, OpenImagesConfig):
        return build_open_images_evaluator(
            config.evaluation,
            files=open_images_files(config.data.dataset)["val"],
            categories=categories,
            table=val.table,
            device=device,
            precision=config.train.precision,
        )
    return build_evaluator(
        config.evaluation,
        annotations=annotation_files(config.data)["val"],
        categories=categories,
        image_ids=val.table.image_ids,
        device=device,
        precision=config.train.precision,
        drop_invalid_boxes=config.data.drop_invalid_boxes,
    )
