"""From ground truth and predictions to results: the one place that names what was measured."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from typing import Any, Literal

import numpy as np

from dense_lt.data.categories import GROUPS
from dense_lt.evaluation.bootstrap import bootstrap
from dense_lt.evaluation.calibration import Calibration
from dense_lt.evaluation.curves import Curves
from dense_lt.evaluation.doubts import (
    doubts_about_boxes,
    doubts_about_calibration,
    doubts_about_categories,
    doubts_about_copies,
)
from dense_lt.evaluation.ground_truth import GroundTruth, look_up
from dense_lt.evaluation.intervals import SEED
from dense_lt.evaluation.lvis import match_detections
from dense_lt.evaluation.metrics import class_metrics, class_precision
from dense_lt.evaluation.pooled import pooled_metrics, pooled_samples
from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.results import ClassResult, EvaluationResult, Metrics, why_undefined
from dense_lt.evaluation.rules import COCO, FIXED, LVIS, IouType, MaskArea, Rules

Backend = Literal["ours", "lvis", "pycocotools"]

IOU_RULES = {
    "segm": "of the masks",
    "boundary": "the smaller one of masks and of bands along outlines, 2% of the diagonal wide",
}

PROTOCOLS: dict[str, tuple[Rules, tuple[int, ...]]] = {
    "lvis": (LVIS, (300,)),
    "fixed": (FIXED, (10_000,)),
    "pool": (FIXED, (10_000,)),
    "coco": (COCO, (100, 10, 1)),
}
"""Name -> rules, and the caps if none are asked for; the first is the headline."""


@dataclass(frozen=True)
class ScoreSettings:
    """What to measure."""

    protocol: str = "lvis"
    """A key of PROTOCOLS."""
    iou_type: IouType = "bbox"
    caps: tuple[int, ...] = ()
    """Caps of detections, the first for the headline; empty takes the protocol's."""
    mask_area: MaskArea = "mask"
    """What decides the size range of a detected mask."""
    calibration: Calibration | None = None
    """Changes the scores first; None takes them as they are."""
    resamples: int = 0
    """Resamples of the images for intervals around the headline numbers; 0 makes none."""
    image_cap: bool = True
    """The detections of an image may have been capped; False where it is known that none were."""

    @property
    def rules(self) -> Rules:
        """The protocol's."""
        return PROTOCOLS[self.protocol][0]

    @property
    def all_caps(self) -> tuple[int, ...]:
        """Without repetition, the headline first."""
        return tuple(dict.fromkeys(self.caps or PROTOCOLS[self.protocol][1]))


def score(
    ground_truth: GroundTruth,
    predictions: Predictions,
    settings: ScoreSettings | None = None,
    *,
    run: str = "",
) -> EvaluationResult:
    """Measure `predictions`.

    Args:
        ground_truth: with masks if masks are scored.
        predictions: likewise; none at all give numbers like any others.
        settings: LVIS boxes by default.
        run: name to put over the numbers.

    Raises:
        DataError: the two do not belong together.
    """
    settings = settings or ScoreSettings()
    caps = settings.all_caps
    if settings.calibration is not None:
        predictions = settings.calibration(predictions, ground_truth)
    matched = match_detections(
        ground_truth,
        predictions,
        settings.rules,
        caps=caps,
        iou_type=settings.iou_type,
        mask_area=settings.mask_area,
    )
    curves = {cap: matched.curves(cap) for cap in caps}
    if settings.protocol == "pool":
        by_cap = {cap: pooled_metrics(matched, ground_truth, cap) for cap in caps}
    else:
        by_cap = {cap: class_metrics(own, ground_truth, cap) for cap, own in curves.items()}
    result = summarise(ground_truth, predictions, by_cap, curves[caps[0]], settings, run=run)
    if not settings.resamples:
        return result
    make_samples = pooled_samples if settings.protocol == "pool" else bootstrap
    samples = make_samples(
        matched, ground_truth, cap=caps[0], resamples=settings.resamples, seed=SEED
    )
    return replace(result, samples=samples, intervals=samples.summary(result.metrics))


def summarise(
    ground_truth: GroundTruth,
    predictions: Predictions,
    by_cap: Mapping[int, Metrics],
    curves: Curves,
    settings: ScoreSettings,
    *,
    run: str = "",
    backend: Backend = "ours",
) -> EvaluationResult:
    """The results of metrics at each cap and of curves at the first, whoever computed them."""
    first, *others = by_cap
    headline = dict(by_cap[first])
    if settings.rules is COCO:  # its summary lists the recalls at all caps
        headline |= {f"AR@{cap}": by_cap[cap][f"AR@{cap}"] for cap in others}
    counts = _counts(ground_truth, predictions)
    undefined = {
        name.split("@")[0]: why_undefined(name, counts)
        for metrics in by_cap.values()
        for name, value in metrics.items()
        if value is None
    }
    return EvaluationResult(
        run=run,
        protocol=settings.protocol,
        iou_type=settings.iou_type,
        max_detections=first,
        metrics=headline,
        by_max_detections={str(cap): metrics for cap, metrics in by_cap.items()},
        counts=counts,
        per_class=_per_class(ground_truth, curves),
        rules=_rules_in_words(settings, backend),
        undefined=undefined,
        notes=(
            *ground_truth.notes,
            *_notes(ground_truth, predictions, settings),
            *(f"{name} is n/a: {reason}" for name, reason in undefined.items()),
        ),
        versions=_versions(settings, backend),
        ground_truth=ground_truth.digest,
    )


def _counts(ground_truth: GroundTruth, predictions: Predictions) -> dict[str, Any]:
    present = np.zeros(len(ground_truth.names), bool)
    present[ground_truth.category] = True
    groups = {group: ground_truth.labels_in_group(group) for group in GROUPS}
    known = ground_truth.groups is not None
    return {
        "images": len(ground_truth.image_ids),
        "annotations": len(ground_truth.areas),
        "detections": len(predictions),
        "categories": len(ground_truth.names),
        "categories_by_group": {g: len(own) for g, own in groups.items()} if known else None,
        "categories_with_annotations": {g: int(present[own].sum()) for g, own in groups.items()}
        if known
        else None,
    }


def _per_class(ground_truth: GroundTruth, curves: Curves) -> tuple[ClassResult, ...]:
    size = len(ground_truth.names)
    pairs = np.unique(ground_truth.image * np.int64(size) + ground_truth.category)
    val_images = np.bincount(pairs % size, minlength=size).tolist() if size else []
    val_instances = np.bincount(ground_truth.category, minlength=size).tolist()
    ap, ap50 = class_precision(curves)
    unknown = (None,) * size
    columns = zip(
        ground_truth.category_ids.tolist(),
        ground_truth.names,
        ground_truth.groups or unknown,
        ground_truth.train_images or unknown,
        ground_truth.train_instances or unknown,
        val_images,
        val_instances,
        ap,
        ap50,
        strict=True,
    )
    return tuple(ClassResult(*values) for values in columns)


def _rules_in_words(settings: ScoreSettings, backend: Backend) -> dict[str, str]:
    words = {
        "precision": "one curve over all classes of a group"
        if settings.protocol == "pool"
        else "mean over classes",
        "iou_thresholds": "0.50:0.05:0.95",
        "cap": f"{settings.all_caps[0]:,} detections of one {settings.rules.cap_unit}",
        "backend": "dense_lt" if backend == "ours" else backend,
    }
    if not settings.image_cap:
        words["predicted"] = "without a cap of detections per image"
    if settings.calibration is not None:
        words["calibration"] = settings.calibration.label
    if settings.iou_type != "bbox":
        words["iou"] = IOU_RULES[settings.iou_type]
        words["size_of_a_detection"] = {
            "mask": "area of its mask, as in detectron2",
            "box": "area of its box where the predictions give one, as in the lvis package",
        }[settings.mask_area]
    return words


def _notes(
    ground_truth: GroundTruth, predictions: Predictions, settings: ScoreSettings
) -> list[str]:
    notes: list[str] = []
    if settings.calibration is not None:
        notes += settings.calibration.notes
        pooled, cap = settings.protocol == "pool", settings.all_caps[0]
        notes += doubts_about_calibration(predictions, settings.rules, cap, pooled=pooled)
    _, known = look_up(ground_truth.category_ids, predictions.category_ids)
    if not known.all():
        ids = np.unique(predictions.category_ids[~known])
        shown = ", ".join(map(str, ids[:5].tolist())) + (", ..." if len(ids) > 5 else "")
        notes.append(
            f"{predictions.source}: {np.count_nonzero(~known)} detections, first entry "
            f"{np.argmin(known)}, name {len(ids)} category ids that {ground_truth.source} does not "
            f"list ({shown}); they only take places under the cap"
            f"{doubts_about_categories(predictions, ground_truth)}"
        )
    if settings.rules is FIXED and settings.image_cap:
        counts = np.bincount(np.unique(predictions.category_ids[known], return_inverse=True)[1])
        few = len(ground_truth.names) - np.count_nonzero(counts >= settings.all_caps[0])
        if few:
            notes.append(
                f"{few} of {len(ground_truth.names)} categories have fewer than "
                f"{settings.all_caps[0]:,} detections: fine if nothing was cut, but predictions "
                "that were capped per image make this protocol's numbers too low"
            )
    notes += doubts_about_boxes(predictions, ground_truth)
    notes += doubts_about_copies(predictions)
    if not len(predictions):
        notes.append("there are no detections: precision and recall are 0")
    crowds = np.count_nonzero(ground_truth.crowd)
    if crowds and not settings.rules.knows_crowds:
        notes.append(f"{crowds} `iscrowd` annotations count as ordinary objects, as in LVIS")
    areas = ground_truth.areas
    empty = np.count_nonzero(areas <= 0 if settings.rules.drops_empty else areas < 0)
    if empty:
        bound = "0 or below" if settings.rules.drops_empty else "below 0"
        notes.append(
            f"{empty:,} of {len(areas):,} annotations have an `area` of {bound}: the protocol "
            "leaves them out"
        )
    return notes


def _versions(settings: ScoreSettings, backend: Backend) -> dict[str, str]:
    packages = {"dense_lt", "numpy", *(() if backend == "ours" else (backend,))}
    packages |= {"pycocotools"} if settings.iou_type != "bbox" else set()
    found = {name: _version(name) for name in sorted(packages)}
    return {"python": platform.python_version(), **{n: v for n, v in found.items() if v}}


@cache
def _version(package: str) -> str | None:
    """Looked up once: it takes a tenth of the time of scoring a small file."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
