"""Options of `eval score` that score once more with calibrated scores, beside the raw ones."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dense_lt.utils.errors import ConfigError

if TYPE_CHECKING:
    from dense_lt.data.categories import CategoryTable
    from dense_lt.data.table import AnnotationTable
    from dense_lt.evaluation.calibration import Calibration

OPTIONS = {
    "norcal": ("GAMMA", "odds divided by the class's training images to the power GAMMA"),
    "logit-adjustment": ("TAU", "TAU x log of the class's training instances off the logit"),
    "temperature": ("GAMMA", "logit times (training images / the most of any class)^GAMMA"),
    "tau-norm": ("TAU", "weights of the classifier divided by their norm to the power TAU"),
    "fracal": (
        "LAMBDA",
        "FRACAL: by training images, and by how evenly the objects of a class fill them, to the "
        "power LAMBDA (published: 2); needs --train-annotations",
    ),
}
"""Name -> letter of its strength, and what it does."""

STRONGEST = 10.0
"""Published strengths are at most 2. Powers far above overflow, and leave nothing but the training
counts in the scores."""


class Training(NamedTuple):
    """What is known of the training set."""

    categories: CategoryTable | None = None
    table: AnnotationTable | None = None
    notes: tuple[str, ...] = ()


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    group = parser.add_argument_group(
        "calibration (score once more with scores changed by training statistics)"
    )
    for name, (letter, text) in OPTIONS.items():
        group.add_argument(
            f"--{name}", nargs="+", type=strength(name), default=[], metavar=letter, help=text
        )
    group.add_argument(
        "--classifier",
        type=Path,
        help="for --tau-norm: the run's evaluation/classifier.json; default: the one beside the "
        "predictions",
    )


def strength(name: str) -> Callable[[str], float]:
    """Reads the strength of one method; 0 is the raw scores, except of FRACAL."""
    with_zero = name == "fracal"
    allowed = f"a number {'from 0' if with_zero else 'above 0'} to {STRONGEST:g}"

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not 0 <= value <= STRONGEST or (value == 0 and not with_zero):
            raise argparse.ArgumentTypeError(f"{text!r}: it must be {allowed}")
        return value

    return read


def read_training(arguments: argparse.Namespace) -> Training:
    """Read what was given of the training set.

    Raises:
        ConfigError, DataError: a calibration needs what is not there, or it cannot be read.
    """
    if arguments.train_annotations:
        from dense_lt.data.lvis import read_annotations

        table, categories = read_annotations(arguments.train_annotations, masks=False)
        return Training(categories, table, _notes(arguments))
    if arguments.fracal:
        raise ConfigError(
            "--fracal looks at where the training objects are; give --train-annotations"
        )
    if arguments.categories:
        from dense_lt.data.categories import CategoryTable

        return Training(CategoryTable.load(arguments.categories))
    return Training()


def _notes(arguments: argparse.Namespace) -> tuple[str, ...]:
    """That validation stands in for training, where it does."""
    training, truth = arguments.train_annotations, arguments.gt
    if not truth.exists() or not training.samefile(truth):
        return ()
    return (
        f"--train-annotations is the file of --gt ({truth}): frequency groups and calibration come "
        "from validation; give the training annotations",
    )


def wanted(
    arguments: argparse.Namespace, training: Training, predictions: Path
) -> list[Calibration]:
    """The methods that were asked for, at every strength.

    Raises:
        ConfigError, DataError: what one of them needs is not there.
    """
    from dense_lt.evaluation.calibration import ClassTemperature, LogitAdjustment, NorCal

    found: list[Calibration] = [
        make(strength)
        for make, strengths in (
            (NorCal, arguments.norcal),
            (LogitAdjustment, arguments.logit_adjustment),
            (ClassTemperature, arguments.temperature),
        )
        for strength in strengths
    ]
    found += _at_all(lambda: _tau_norm(arguments.classifier, predictions), arguments.tau_norm)
    found += _at_all(lambda: _fracal(training), arguments.fracal)
    return found


def _at_all(
    make: Callable[[], Callable[[float], Calibration]], strengths: Sequence[float]
) -> list[Calibration]:
    """One for each strength; what they share is made once, and only if there is any."""
    if not strengths:
        return []
    at = make()
    return [at(strength) for strength in strengths]


def _tau_norm(path: Path | None, predictions: Path) -> Callable[[float], Calibration]:
    from dense_lt.evaluation.calibration import TauNormalization
    from dense_lt.evaluation.classifier import CLASSIFIER_FILE, ClassifierWeights

    path = path or predictions.parent / CLASSIFIER_FILE
    if not path.is_file():
        raise ConfigError(
            f"--tau-norm: {path} is not there; give --classifier RUN/evaluation/{CLASSIFIER_FILE}, "
            "which `eval.py RUN` writes for detectors with a sigmoid for each class"
        )
    weights = ClassifierWeights.load(path)
    return lambda tau: TauNormalization(tau, weights.of_category, weights.has_quality)


def _fracal(training: Training) -> Callable[[float], Calibration]:
    import numpy as np

    from dense_lt.evaluation.calibration import Fracal
    from dense_lt.evaluation.fractal import fractal_dimensions

    table, categories = training.table, training.categories
    assert table is not None, "read_training sees to it"
    assert categories is not None, "read_training sees to it"
    own = np.repeat(np.arange(len(table)), np.diff(table.offsets))
    sizes = np.stack([table.widths, table.heights], axis=1)[own]
    centers = (table.boxes[:, :2] + table.boxes[:, 2:]) / 2 / sizes
    objects = ~table.crowd
    dimensions = fractal_dimensions(table.labels[objects], centers[objects], len(categories))
    by_id = dict(zip(categories.dataset_ids, dimensions.tolist(), strict=True))
    return lambda strength: Fracal(strength, by_id, len(table))  # type: ignore[arg-type]
