"""What did a finished run leave behind? Reads a run folder; needs neither torch nor images."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dense_lt.data.categories import CategoryTable
from dense_lt.evaluation.diagnosis import DIAGNOSIS_FILE, Diagnosis
from dense_lt.evaluation.results import ClassResult, EvaluationResult
from dense_lt.utils.errors import DataError

Json = dict[str, Any]

OF_MASKS = "mask "
"""Before a metric's name where masks are scored; without it boxes are, or what the results hold."""


@dataclass(frozen=True)
class Snapshot:
    """Gradient ratio of every class at one step, for one module that keeps gradient statistics."""

    step: int
    module: str
    ratio: tuple[float, ...]  # (C,) clamped to [0, 1], as the losses use it


@dataclass(frozen=True)
class NormSnapshot:
    """Length of every class's weights in the classifier at one step."""

    step: int
    norms: tuple[float, ...]  # (C,) in label order


@dataclass(frozen=True)
class Run:
    """One finished run, or one scored predictions file (then only `results` and `classes`)."""

    folder: Path
    name: str
    results: EvaluationResult
    classes: tuple[ClassResult, ...]  # in label order
    mask_results: EvaluationResult | None = None
    """Of the same predictions, where `results` are of boxes."""
    config: Json | None = None
    environment: Json = field(default_factory=dict)
    snapshots: tuple[Snapshot, ...] = ()
    norm_snapshots: tuple[NormSnapshot, ...] = ()
    train_lines: tuple[Json, ...] = ()
    evaluation_lines: tuple[Json, ...] = ()
    predictions: Path | None = None
    cost: Json = field(default_factory=dict)
    """Parameters, and operations for one image of a size; empty for runs that did not save it."""
    diagnosis: Diagnosis | None = None
    no_diagnosis: str = "the run did not save it"

    @property
    def cap(self) -> int:
        """Detections per image in the headline numbers; 0 where the protocol has no cap."""
        return self.results.max_detections or 0

    @property
    def cap_unit(self) -> str:
        """Of what a cap counts the detections: "image", or as COCO does, "image and category"."""
        return self.results.rules.get("cap", "of one image").rsplit("of one ", 1)[-1]

    def metric(self, name: str, cap: int) -> float | None:
        """Metric `name` in [0, 1] at `cap` detections an image; None if undefined or not scored."""
        results = self.mask_results if name.startswith(OF_MASKS) else self.results
        if results is None:
            return None
        name = name.removeprefix(OF_MASKS)
        headline = results.metrics if cap == results.max_detections else {}
        return results.by_max_detections.get(str(cap), headline).get(name)

    @property
    def scored_caps(self) -> list[int]:
        """Every number of detections an image that was scored, the headline first."""
        others = {int(cap) for cap in self.results.by_max_detections} - {self.cap}
        return [self.cap, *sorted(others, reverse=True)]

    @property
    def class_table(self) -> tuple[tuple[int | str, str, str | None, int | None], ...]:
        """What makes two runs' classes the same: id, name, group and training images of each."""
        return tuple((c.category_id, c.name, c.group, c.train_images) for c in self.classes)


def read_run(folder: Path) -> Run:
    """Read the folder of a run, a folder that holds a results.json, or a results.json itself.

    Everything but the results may be missing; the sections of the report that need it say so.

    Raises:
        DataError: no results are there, they are of Open Images, or a file cannot be read.
    """
    path = _results_path(folder)
    results = EvaluationResult.load(path)
    if results.protocol.startswith("openimages"):
        raise DataError(
            f"{path}: the page compares runs by the rules of LVIS and COCO. Compare Open Images "
            "with `dense-lt eval score --protocol openimages`, which takes the predictions.csv of "
            "several runs and shows the differences"
        )
    folder = path.parent.parent if path.parent.name == "evaluation" else path.parent
    lines = _read_lines(folder / "metrics.jsonl")
    predictions, diagnosis = path.parent / "predictions.json", path.parent / DIAGNOSIS_FILE
    statistics = _read_optional(folder / "statistics.json")
    return Run(
        folder=folder,
        name=results.run or folder.resolve().name,
        results=results,
        mask_results=_mask_results(path, results),
        classes=_in_label_order(results.per_class, folder / "categories.json"),
        config=results.config or _read_config(folder / "config.yaml"),
        environment=_read_optional(folder / "environment.json"),
        snapshots=_snapshots(statistics, len(results.per_class)),
        norm_snapshots=_norm_snapshots(statistics, len(results.per_class)),
        train_lines=tuple(line for line in lines if line.get("kind") == "train"),
        evaluation_lines=tuple(line for line in lines if line.get("kind") == "evaluation"),
        predictions=predictions if predictions.is_file() else None,
        cost=_read_optional(path.parent / "cost.json"),
        diagnosis=Diagnosis.load(diagnosis) if diagnosis.is_file() else None,
    )


def _results_path(folder: Path) -> Path:
    if folder.is_file():
        return folder
    candidates = [folder / "evaluation" / "results.json", folder / "results.json"]
    for path in candidates:
        if path.is_file():
            return path
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such run folder")
    if not (folder / "config.yaml").is_file():
        raise DataError(
            f"{folder}: this is no folder of a run (it has no config.yaml), and holds no "
            "results.json; name the folder of a run, such as runs/NAME"
        )
    raise DataError(
        f"{folder}: this run has no evaluation/results.json; train it to its end with --resume, or "
        f"evaluate it as it is with `dense-lt eval {folder}`"
    )


def _mask_results(path: Path, results: EvaluationResult) -> EvaluationResult | None:
    """Those that were written together with `results` (`evaluation.iou_types: [bbox, segm]`)."""
    beside = path.with_name("results_segm.json")
    if path.name != "results.json" or results.iou_type != "bbox" or not beside.is_file():
        return None
    masks = EvaluationResult.load(beside)
    return masks if masks.protocol == results.protocol else None


def _in_label_order(classes: tuple[ClassResult, ...], table: Path) -> tuple[ClassResult, ...]:
    """The order of the gradient statistics; without the run's class table, as they were stored."""
    if not table.is_file():
        return classes
    label_of = CategoryTable.load(table).label_of()
    return tuple(sorted(classes, key=lambda c: label_of.get(c.category_id, len(label_of))))


def _snapshots(stored: Json, num_classes: int) -> tuple[Snapshot, ...]:
    """Snapshots of the modules that count the classes (a region proposal network counts one)."""
    return tuple(
        Snapshot(int(snapshot["step"]), module, tuple(_clamped(r) for r in sums["ratio"]))
        for snapshot in stored.get("snapshots", [])
        for module, sums in snapshot["statistics"].items()
        if len(sums["ratio"]) == num_classes
    )


def _norm_snapshots(stored: Json, num_classes: int) -> tuple[NormSnapshot, ...]:
    """Those of runs that saved classifier norms, all finite, beside the gradient sums."""
    return tuple(
        NormSnapshot(int(snapshot["step"]), tuple(float(own) for own in norms))
        for snapshot in stored.get("snapshots", [])
        if len(norms := snapshot.get("classifier_norms", ())) == num_classes and None not in norms
    )


def _clamped(ratio: float | None) -> float:
    """The ratio as the losses use it; null stands for infinite, a class without negatives."""
    return 1.0 if ratio is None else min(max(float(ratio), 0.0), 1.0)


def _read_json(path: Path) -> Json:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _read_optional(path: Path) -> Json:
    return _read_json(path) if path.is_file() else {}


def _read_config(path: Path) -> Json | None:
    if not path.is_file():
        return None
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _read_lines(path: Path) -> list[Json]:
    """The objects of a JSON-lines file; a last line cut off by a killed run is dropped."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    read: list[Json] = []
    for number, line in enumerate(lines, start=1):
        try:
            read.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise DataError(f"{path}: line {number} is not JSON: {error}") from error
    return read
