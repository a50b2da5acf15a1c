"""The diagnosis of a run that has not saved one, from its predictions and the ground truth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dense_lt.utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from dense_lt.evaluation.diagnosis import Diagnosis
    from dense_lt.report.runs import Run


def diagnosed(run: Run) -> Run:
    """The run with its diagnosis, or with the reason why there is none."""
    if run.diagnosis is not None:
        return run
    try:
        return replace(run, diagnosis=_diagnose(run))
    except (ConfigError, DataError, OSError) as error:
        return replace(run, no_diagnosis=f"{run.no_diagnosis}; from its predictions: {error}")


def _diagnose(run: Run) -> Diagnosis:
    from dense_lt.config.load import load_config
    from dense_lt.data.build import annotation_files
    from dense_lt.data.categories import CategoryTable
    from dense_lt.evaluation.annotations import read_ground_truth
    from dense_lt.evaluation.classifier import CLASSIFIER_FILE, ClassifierWeights
    from dense_lt.evaluation.diagnosis import diagnose
    from dense_lt.evaluation.prediction_files import read_predictions
    from dense_lt.evaluation.score import PROTOCOLS

    settings, table = run.folder / "config.yaml", run.folder / "categories.json"
    for path in (settings, table):
        if not path.is_file():
            raise DataError(f"{path} is missing")
    if run.predictions is None:
        raise DataError(f"{run.folder} has no evaluation/predictions.json")
    config = load_config(settings)
    truth = read_ground_truth(
        annotation_files(config.data)["val"], drop_invalid=config.data.drop_invalid_boxes
    )
    if config.evaluation.images is not None or run.results.counts["images"] != len(truth.image_ids):
        raise DataError(
            "only some of the images were scored; `dense-lt eval RUN` saves a diagnosis"
        )
    columns = run.predictions.with_name("predictions")
    weights = run.predictions.with_name(CLASSIFIER_FILE)
    norms = {}
    if weights.is_file():
        stored = ClassifierWeights.load(weights).of_category
        norms = {category: norm for category, (norm, _) in stored.items()}
    rules, _ = PROTOCOLS[run.results.protocol]
    return diagnose(
        truth.with_training_counts(CategoryTable.load(table)),
        read_predictions(columns if columns.is_dir() else run.predictions),
        rules=rules,
        cap=run.cap,
        norms=norms or None,
    )
