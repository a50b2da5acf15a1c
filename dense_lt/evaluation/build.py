"""Evaluation section -> evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dense_lt.config.experiment import EvaluationConfig
from dense_lt.data.categories import CategoryTable
from dense_lt.data.openimages.read import OpenImagesFiles
from dense_lt.data.table import AnnotationTable
from dense_lt.evaluation.annotations import read_ground_truth
from dense_lt.evaluation.evaluator import DetectorEvaluator
from dense_lt.evaluation.openimages_evaluator import OpenImagesEvaluator
from dense_lt.evaluation.openimages_truth import read_truth
from dense_lt.evaluation.score import ScoreSettings


def build_evaluator(
    config: EvaluationConfig,
    *,
    annotations: Path,
    categories: CategoryTable,
    image_ids: NDArray[np.int64],
    device: torch.device,
    precision: str = "fp32",
    drop_invalid_boxes: bool = False,
) -> DetectorEvaluator:
    """An evaluator of detectors whose labels are those of `categories`.

    Args:
        config: the section.
        annotations: of the validation images.
        categories: those of training; frequency groups come from there.
        image_ids: of the data set, in its order; `config.images` of them are evaluated.
        device: where to predict.
        precision: "fp32" or "bf16".
        drop_invalid_boxes: as in the data section.

    Raises:
        DataError: the annotations cannot be used.
    """
    ground_truth = read_ground_truth(
        annotations, masks="segm" in config.iou_types, drop_invalid=drop_invalid_boxes
    )
    if config.images is not None:
        ground_truth = ground_truth.only_images(image_ids[: config.images])
    return DetectorEvaluator(
        ground_truth.with_training_counts(categories),
        [
            ScoreSettings(
                protocol=protocol,
                iou_type=iou_type,
                caps=config.max_detections if protocol == "lvis" else (),
                resamples=config.resamples,
            )
            for protocol in config.protocols
            for iou_type in config.iou_types
        ],
        categories=categories,
        device=device,
        precision=precision,
        image_cap=not config.no_image_cap,
    )


def build_open_images_evaluator(
    config: EvaluationConfig,
    *,
    files: OpenImagesFiles,
    categories: CategoryTable,
    table: AnnotationTable,
    device: torch.device,
    precision: str = "fp32",
) -> OpenImagesEvaluator:
    """The same for Open Images.

    Args:
        config: the section.
        files: of the validation split.
        categories: those of training; AP1 .. AP5 come from its counts.
        table: the images as the data set has them; `config.images` of them are evaluated.
        device: where to predict.
        precision: "fp32" or "bf16".

    Raises:
        DataError: a file cannot be used.
    """
    truth = read_truth(files.boxes, files.classes, labels=files.labels, hierarchy=files.hierarchy)
    if config.images is not None:
        first = range(min(config.images, len(table)))
        names = [Path(table.file_names[index]).stem for index in first]
        truth = truth.only_images(np.array(names, "S"))
    return OpenImagesEvaluator(
        truth,
        table,
        config.protocols,
        resamples=config.resamples,
        categories=categories,
        device=device,
        precision=precision,
    )
