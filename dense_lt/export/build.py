"""From a run folder to a file that other programs run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, assert_never

import torch

from dense_lt.config.experiment import ExperimentConfig
from dense_lt.config.load import load_config
from dense_lt.data.categories import CategoryTable
from dense_lt.engine.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint
from dense_lt.export.dense import DetectionOutput, RawOutput
from dense_lt.export.files import Format, read, require_packages, write
from dense_lt.export.parity import Difference, as_predicted, compare
from dense_lt.export.regions import RegionDetectionOutput, RegionOutput
from dense_lt.export.score_rule import ScoreRule, class_temperature, logit_adjustment, norcal
from dense_lt.export.suppression import suppress, suppress_in_onnx
from dense_lt.export.tracing import least_side, trace, trial_sizes
from dense_lt.inference.build import load_detector, run_config
from dense_lt.models.detector import Detector
from dense_lt.models.one_stage import OneStageDetector
from dense_lt.models.two_stage.cascade import CascadeDetector
from dense_lt.models.two_stage.dense_proposals import DenseProposals
from dense_lt.models.two_stage.detector import TwoStageDetector
from dense_lt.structures import Size
from dense_lt.utils.errors import ConfigError

Output = Literal["raw", "detections"]

Exportable = OneStageDetector | TwoStageDetector | CascadeDetector

Calibration = tuple[Literal["norcal", "logit-adjustment", "temperature"], float]
"""Method of `dense-lt eval score`, and its strength."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    classes: int
    size: Size | None  # height and width of the input; None leaves them open:
    multiple_of: int  # divides them then,
    least_side: int  # which they are at least, pixels
    difference: Difference  # to PyTorch


def export_run(
    folder: Path,
    out: Path,
    *,
    format: Format = "onnx",
    output: Output = "detections",
    checkpoint: Path | None = None,
    size: Size | None = None,
    calibration: Calibration | None = None,
) -> Exported:
    """Write the detector of a run to `out`, run the file and compare it with PyTorch.

    Args:
        folder: that `dense-lt train` wrote.
        out: the file. It appears whole, and only if it gives what PyTorch gives.
        format: "onnx", or "torch" for `torch.export.load`.
        output: "raw" for scores and boxes of all priors or proposals, "detections" for what
            `predict` finds.
        checkpoint: one of the run's; None takes the newest.
        size: height and width of the input; None leaves them open.
        calibration: changes the scores by the training counts.

    Raises:
        DataError: the folder is no run, or has no whole checkpoint.
        ConfigError: the detector cannot be exported, a package is missing, or the file differs.
    """
    require_packages(format)
    config = load_config(run_config(folder))
    stored = load_checkpoint(latest_checkpoint(folder) if checkpoint is None else checkpoint)
    categories = CategoryTable.from_json(stored.categories)
    detector = _supported(load_detector(stored, config, torch.device("cpu")), folder)
    detector = detector.float().eval()
    module = _module(detector, output, format, _rule(calibration, categories))
    metadata = _metadata(config, stored, categories, module, size, calibration)
    multiple_of = config.data.pad_to_multiple_of
    stride = max(*detector.pyramid.strides, *detector.pyramid.backbone.strides)
    sizes = trial_sizes(multiple_of, stride) if size is None else [size]
    program = trace(module, sizes[0], multiple_of if size is None else None, stride)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(out.name + ".tmp")
    try:
        write(program, draft, format, names=module.names, metadata=metadata)
        reference = (
            as_predicted(detector) if output == "detections" and calibration is None else module
        )
        difference = compare(read(draft, format), reference, sizes)
        difference.check()
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    least = least_side(multiple_of, stride)
    return Exported(out, len(categories), size, multiple_of, least, difference)


def _supported(detector: Detector, folder: Path) -> Exportable:
    """`detector`; raises ConfigError where a part of it has no counterpart in tensors."""
    assert isinstance(detector, Exportable), "there are no others"
    if not isinstance(detector, OneStageDetector) and isinstance(
        detector.proposals, DenseProposals
    ):
        raise ConfigError(
            f"{folder}: model.proposals.kind is dense, but of detectors with regions only those "
            "with `rpn` can be exported (Faster and Mask R-CNN, Cascade R-CNN, HTC), besides all "
            "one-stage detectors. Use `dense-lt predict`, or `dense_lt.load_run` in Python"
        )
    return detector


def _module(
    detector: Exportable, output: Output, format: Format, rule: ScoreRule | None
) -> RawOutput | RegionOutput:
    suppression = suppress_in_onnx if format == "onnx" else suppress
    if not isinstance(detector, OneStageDetector):
        of_regions = RegionOutput if output == "raw" else RegionDetectionOutput
        return of_regions(detector, suppression, rule).eval()
    if output == "raw":
        return RawOutput(detector, rule).eval()
    return DetectionOutput(detector, suppression, rule).eval()


def _rule(calibration: Calibration | None, categories: CategoryTable) -> ScoreRule | None:
    match calibration:
        case None:
            return None
        case ("norcal", strength):
            return norcal(categories.image_counts, strength)
        case ("logit-adjustment", strength):
            return logit_adjustment(categories.instance_counts, strength)
        case ("temperature", strength):
            return class_temperature(categories.image_counts, strength)
        case _:
            assert_never(calibration[0])


def _metadata(
    config: ExperimentConfig,
    stored: Checkpoint,
    categories: CategoryTable,
    module: RawOutput | RegionOutput,
    size: Size | None,
    calibration: Calibration | None,
) -> dict[str, str]:
    """What one must know to use the file, each in JSON."""
    resize = config.data.val_transforms.resize
    facts = {
        "names": list(categories.names),
        "category_ids": list(categories.dataset_ids),
        "size": size,
        "multiple_of": config.data.pad_to_multiple_of,
        "resize": None if resize is None else resize.model_dump(mode="json"),
        "mean": module.normalizer.mean.flatten().tolist(),
        "std": module.normalizer.std.flatten().tolist(),
        "outputs": list(module.names),
        "selection": module.limits._asdict(),
        "calibration": calibration,
        "run": config.name,
        "step": stored.step,
        "dense_lt": version("dense_lt"),
    }
    return {name: json.dumps(fact) for name, fact in facts.items()}
