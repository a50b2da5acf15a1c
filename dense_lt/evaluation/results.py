"""What was measured? One evaluation's numbers with all that is needed to read them, as JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dense_lt.data.categories import GROUPS
from dense_lt.evaluation.intervals import Samples
from dense_lt.utils.errors import DataError

Metrics = dict[str, float | None]
"""Official name ("AP", "APr", "AR@300", ...) -> value in [0, 1], None where undefined."""


@dataclass(frozen=True)
class ClassResult:
    """One class; counts are None where no training file was given."""

    category_id: int | str
    name: str
    group: str | None
    train_images: int | None
    train_instances: int | None
    val_images: int
    val_instances: int
    AP: float | None
    AP50: float | None


@dataclass(frozen=True)
class EvaluationResult:
    """One evaluation. The names of the fields are the keys of `results.json`."""

    run: str
    protocol: str
    """Which rules: "lvis", "coco", "lvis-fixed", ..."""
    iou_type: str
    """"bbox", "segm" or "boundary"."""
    max_detections: int | None
    """Cap of the headline numbers, per image unless the protocol says otherwise; None: no cap."""
    metrics: Metrics
    by_max_detections: dict[str, Metrics]
    """Every cap that was scored -> its metrics; the headline's included."""
    counts: dict[str, Any]
    """Images, annotations, detections, categories, categories_with_annotations by group."""
    per_class: tuple[ClassResult, ...]
    rules: dict[str, str] = field(default_factory=dict)
    """Choices behind the numbers in words: IoU thresholds, cap, area of masks, backend."""
    undefined: dict[str, str] = field(default_factory=dict)
    """Name of a metric that may be None, without its cap -> why."""
    notes: tuple[str, ...] = ()
    """Why something is undefined, what was assumed, what was left out."""
    versions: dict[str, str] = field(default_factory=dict)
    ground_truth: str | None = None
    """Digest of the annotations; results of equal ones can be compared."""
    step: int | None = None
    config: dict[str, Any] | None = None
    seconds_per_image: float | None = None
    intervals: dict[str, Any] | None = None
    """Over draws of the images: {"level", "resamples", "drawn", "metrics": {name: [low, high]}}"""
    samples: Samples | None = field(default=None, compare=False, repr=False)
    """The numbers of the resamples; in a file of their own, for differences between runs."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = asdict(replace(self, samples=None))
        del values["samples"]
        return values

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> EvaluationResult:
        """The inverse of `to_json`.

        Raises:
            DataError: a field is missing or not known.
        """
        values = dict(stored)
        try:
            values["per_class"] = tuple(ClassResult(**entry) for entry in values["per_class"])
            values["notes"] = tuple(values.get("notes", ()))
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise DataError(f"these are not evaluation results: {error}; evaluate again") from error

    def save(self, folder: Path, suffix: str = "") -> Path:
        """Write `results{suffix}.json`, `per_class{suffix}.csv` and resamples into `folder`.

        Returns:
            The path of the former.
        """
        folder.mkdir(parents=True, exist_ok=True)
        samples = folder / f"resamples{suffix}.npz"
        samples.unlink(missing_ok=True)  # an earlier scoring's would be taken for these
        if self.samples is not None:
            self.samples.save(samples)
        path = folder / f"results{suffix}.json"
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
        self.save_per_class(folder / f"per_class{suffix}.csv")
        return path

    def save_per_class(self, path: Path) -> None:
        """Write one line per class, in the order of the category ids."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(ClassResult.__dataclass_fields__))
            writer.writeheader()
            writer.writerows(asdict(entry) for entry in self.per_class)

    @classmethod
    def load(cls, path: Path) -> EvaluationResult:
        """Read what `save` wrote.

        Raises:
            DataError: the file cannot be read.
        """
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from error


def save_results(results: Sequence[EvaluationResult], folder: Path) -> list[Path]:
    """Write results.json for the first of `results`; names of the others say what is different.

    Such as results_segm.json, results_fixed.json, results_fixed_segm.json. What an earlier scoring
    left in `folder` under other such names goes, so that all results there belong together.
    """
    paths: list[Path] = []
    for result in results:
        parts = [result.protocol] if result.protocol != results[0].protocol else []
        parts += [result.iou_type] if result.iou_type != results[0].iou_type else []
        calibration = result.rules.get("calibration", "").lower().replace(" ", "_")
        parts += [calibration] if calibration else []
        paths.append(result.save(folder, "".join(f"_{part}" for part in parts)))
    remove_results(folder, keep=paths)
    return paths


def remove_results(folder: Path, *, keep: Sequence[Path] = ()) -> None:
    """Remove the results in `folder` but `keep`, each with its per_class.csv and resamples.

    Only files that hold results of ours are touched.
    """
    for path in folder.glob("results*.json"):
        try:
            ours = path not in keep and EvaluationResult.load(path) is not None
        except DataError:
            ours = False
        if ours:
            suffix = path.stem.removeprefix("results")
            for name in (path.name, f"per_class{suffix}.csv", f"resamples{suffix}.npz"):
                (folder / name).unlink(missing_ok=True)


def why_undefined(name: str, counts: Mapping[str, Any]) -> str:
    """Why metric `name` is None, for a reader of the table; `counts` are those of the result."""
    group = {group[0]: group for group in GROUPS}.get(name[2:3])
    if group is None or name[:2] != "AP":
        size = {"s": "small ", "m": "medium ", "l": "large "}.get(name[2:3], "")
        suffix = " that counts" if counts["annotations"] and not size else ""
        return f"the ground truth holds no {size}object{suffix}"
    if counts["categories_by_group"] is None:
        return "frequency groups are not known"
    having, total = (
        counts[key][group] for key in ("categories_with_annotations", "categories_by_group")
    )
    if having:
        return f"no object of the {group} classes counts"
    return f"{having} of {total} {group} classes have ground truth"
