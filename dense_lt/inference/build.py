"""From a run folder to the detector that it has trained.

detector = dense_lt.load_run("runs/NAME")
for found in detector.predict(["street.jpg"]):
print(found.names, found.scores, found.boxes)
"""

from __future__ import annotations

from pathlib import Path

import torch

from dense_lt.balance.counts import ClassCounts
from dense_lt.config.experiment import ExperimentConfig
from dense_lt.config.load import load_config
from dense_lt.data.augment.build import build_transform
from dense_lt.data.categories import CategoryTable
from dense_lt.engine.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, restore_model
from dense_lt.engine.run_folder import RunFolder
from dense_lt.inference.trained import TrainedDetector
from dense_lt.models.build import build_detector
from dense_lt.models.detector import Detector
from dense_lt.utils.devices import choose_device
from dense_lt.utils.errors import DataError


def load_run(
    folder: str | Path, *, checkpoint: str | Path | None = None, device: str = "auto"
) -> TrainedDetector:
    """The detector of a finished or running run.

    Args:
        folder: that `dense-lt train` wrote.
        checkpoint: one of its checkpoints; None takes the newest.
        device: "auto", "cpu" or "cuda".

    Raises:
        DataError: the folder is no run, or has no whole checkpoint.
        ConfigError: there is no such device.
    """
    config = load_config(run_config(Path(folder)))
    path = latest_checkpoint(Path(folder)) if checkpoint is None else Path(checkpoint)
    stored, chosen = load_checkpoint(path), choose_device(device)
    categories = CategoryTable.from_json(stored.categories)
    return TrainedDetector(
        load_detector(stored, config, chosen),
        categories,
        build_transform(config.data.val_transforms),
        device=chosen,
        precision=config.train.precision,
        pad_to_multiple_of=config.data.pad_to_multiple_of,
        checkpoint=path,
        step=stored.step,
    )


def run_config(folder: Path) -> Path:
    """The configuration of a run.

    Raises:
        DataError: `folder` is no run.
    """
    config = RunFolder(folder).config
    if not config.is_file():
        raise DataError(
            f"{folder}: this is no run folder, it has no config.yaml. Give the folder that "
            "`dense-lt train` wrote"
        )
    return config


def load_detector(stored: Checkpoint, config: ExperimentConfig, device: torch.device) -> Detector:
    """The detector that `config` describes, on `device`, with the weights of a checkpoint."""
    detector = build_bare(CategoryTable.from_json(stored.categories), config, device)
    restore_model(detector, stored)
    return detector


def build_bare(
    categories: CategoryTable, config: ExperimentConfig, device: torch.device
) -> Detector:
    """The detector that `config` describes, on `device`, without the weights of any training."""
    # The checkpoint brings all weights; pretrained ones need not be there any more.
    backbone = config.model.backbone.model_copy(update={"pretrained": False, "weights": None})
    model = config.model.model_copy(update={"backbone": backbone})
    counts = ClassCounts(categories.image_counts, categories.instance_counts)
    return to_device(build_detector(model, len(categories), counts), config, device)


def to_device(detector: Detector, config: ExperimentConfig, device: torch.device) -> Detector:
    """`detector` on `device`, in the memory layout of training: evaluation gives equal numbers."""
    layout = torch.channels_last if config.train.channels_last else torch.contiguous_format
    return detector.to(device=device, memory_format=layout)  # type: ignore[call-overload]
