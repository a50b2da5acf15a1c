"""Scores changed after training, by what the training set says of a class.

Every method is a rising function of the score within a class, so only the order of detections of
different classes changes: average precision changes through the cap of detections per image, and
AP-pool through the ranking. Keep many detections per image; AP-fixed does not change at all.

Nothing here sees validation labels. Methods work on logits z = log(s / (1 - s)) of saved scores,
which is exact for independent (sigmoid) scores. Where a score holds the predicted quality of the
box too, or is a softmax over classes, z is what it would be if the score were a sigmoid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.ground_truth import GroundTruth, look_up
from dense_lt.evaluation.predictions import Predictions
from dense_lt.utils.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration(ABC):
    """One method; calling it gives predictions with other scores."""

    strength: float
    """The further from 0, the more is changed; what it is the power or factor of differs."""
    name: ClassVar[str]

    @property
    def label(self) -> str:
        """Method and strength, for tables and file names."""
        return f"{self.name} {self.strength:g}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers must know."""
        return ()

    def __call__(self, predictions: Predictions, ground_truth: GroundTruth) -> Predictions:
        """`predictions` with other scores; those of categories that are not listed stay.

        Raises:
            DataError: what the method needs to know of the training set is not known.
        """
        per_class = self._per_class(ground_truth)
        scores = predictions.scores.astype(np.float64)
        category, known = look_up(ground_truth.category_ids, predictions.category_ids)
        if not len(per_class):
            return replace(predictions, scores=scores)
        with np.errstate(divide="ignore"):  # scores of 0 and 1 stay what they are
            logits = np.log(scores) - np.log1p(-scores)
        after = self._scores(logits, per_class[category])
        return replace(predictions, scores=np.where(known, after, scores))

    @abstractmethod
    def _per_class(self, ground_truth: GroundTruth) -> Floats:
        """What the training set says of each class: (C,) or (C, n)."""

    @abstractmethod
    def _scores(self, logits: Floats, own: Floats) -> Floats:
        """New scores of detections with `logits` (D,); `own` are the rows of their classes."""


@dataclass(frozen=True)
class NorCal(Calibration):
    """Odds divided by the class's number of training images to the power gamma.

    z' = z - gamma log(N_c / N_max). The paper divides the probabilities of a softmax and makes them
    sum to one again with the background; a saved score knows only itself and the rest, for which
    that is this.

    Source: Pan et al. 2021.
    """

    name = "NorCal"

    def _per_class(self, ground_truth: GroundTruth) -> Floats:
        return np.log(_relative(ground_truth, ground_truth.train_images, "images"))

    def _scores(self, logits: Floats, own: Floats) -> Floats:
        return _sigmoid(logits - self.strength * own)


@dataclass(frozen=True)
class LogitAdjustment(Calibration):
    """The logarithm of the class's share of training instances taken off the logit, tau times.

    z' = z - tau log(pi_c / pi_max). A constant common to all classes moves no ranking, so the most
    frequent class keeps its scores. Beside NorCal it counts instances instead of images.

    Source: Menon et al. 2021, equation 9.
    """

    name = "logit adjustment"

    def _per_class(self, ground_truth: GroundTruth) -> Floats:
        return np.log(_relative(ground_truth, ground_truth.train_instances, "instances"))

    def _scores(self, logits: Floats, own: Floats) -> Floats:
        return _sigmoid(logits - self.strength * own)


@dataclass(frozen=True)
class ClassTemperature(Calibration):
    """Logits divided by a temperature that is higher the fewer images trained the class.

    z' = z / T_c with T_c = (N_max / N_c)^gamma. Few examples leave a logit uncertain, and averaging
    a sigmoid over an uncertain logit flattens it (MacKay 1992): scores of rare classes move towards
    1/2, up where they are low, as most are. One exponent for all classes, so that nothing is fitted
    to validation; the power law is ours, after the class-dependent temperatures that Ye et al. 2020
    train with.
    """

    name = "temperature"

    def _per_class(self, ground_truth: GroundTruth) -> Floats:
        return _relative(ground_truth, ground_truth.train_images, "images") ** self.strength

    def _scores(self, logits: Floats, own: Floats) -> Floats:
        return _sigmoid(logits * own)


@dataclass(frozen=True)
class TauNormalization(Calibration):
    """Classifier weights divided by their norm to the power tau, as far as scores tell.

    The last layer is linear, z = w x + b, so shorter weights are z' = (z - b) / r^tau + b, with r
    the norm of a class's weights over the geometric mean of all classes: on average, nothing
    changes. The bias stays, because in a sigmoid detector it holds the prior.

    Source: Kang et al. 2020, who have no bias and a softmax.
    """

    name = "tau-norm"
    classifier: Mapping[int, tuple[float, float]]
    """Category id -> norm and bias of the class's weights."""
    has_quality: bool = False
    """The scores hold a factor for the quality of the box."""

    @property
    def notes(self) -> tuple[str, ...]:
        """That a quality branch makes it inexact."""
        if not self.has_quality:
            return ()
        return (
            f"{self.label}: the scores hold a factor for the quality of the box, which it takes as "
            "part of the logit; it is exact only for heads without a quality branch",
        )

    def _per_class(self, ground_truth: GroundTruth) -> Floats:
        rows = _of_each(ground_truth, self.classifier, "weights in --classifier")
        norms = np.maximum(rows[:, 0], np.finfo(np.float64).tiny)
        mean = np.exp(np.mean(np.log(norms))) if len(norms) else 1.0
        return np.stack([(norms / mean) ** -self.strength, rows[:, 1]], axis=1)

    def _scores(self, logits: Floats, own: Floats) -> Floats:
        factor, bias = own.T
        return _sigmoid((logits - bias) * factor + bias)


@dataclass(frozen=True)
class Fracal(Calibration):
    """Scores times those of a logit moved by how often and how evenly a class fills its images.

    s' = sigmoid(z) sigmoid(z + w_c + f_c), where w_c = -log10(C p_c), with p_c the share of
    training images that contain the class, and f_c = -log10(C d_c^strength / sum d^strength), with
    d_c its fractal dimension (see `fractal.py`). A class without a training image counts as seen
    once.

    Source: Alexandridis et al. 2025, in the form of their published code for sigmoid heads, with
    base-10 logarithms and strength 2. Their softmax form needs the scores of all classes.
    """

    name = "FRACAL"
    dimensions: Mapping[int, float]
    """Category id -> fractal dimension of its places in the training images."""
    num_images: int
    """Of the training set."""

    def _per_class(self, ground_truth: GroundTruth) -> Floats:
        images = _counts(ground_truth, ground_truth.train_images, "images")
        spread = _of_each(ground_truth, self.dimensions, "place in the training images")
        spread = spread**self.strength
        frequency = np.log10(len(images) * images / self.num_images)
        return -frequency - np.log10(spread / spread.mean())

    def _scores(self, logits: Floats, own: Floats) -> Floats:
        return _sigmoid(logits) * _sigmoid(logits + own)


def _counts(ground_truth: GroundTruth, counts: tuple[int, ...] | None, what: str) -> Floats:
    """(C,) training `counts`, at least 1."""
    if counts is None:
        raise DataError(
            f"{ground_truth.source}: calibration needs the number of training {what} of each "
            "class; give --train-annotations or --categories"
        )
    return np.maximum(np.array(counts, dtype=np.float64), 1)


def _relative(ground_truth: GroundTruth, counts: tuple[int, ...] | None, what: str) -> Floats:
    """(C,) counts over the largest of them: in (0, 1]."""
    known = _counts(ground_truth, counts, what)
    return known / known.max(initial=1)


def _of_each(ground_truth: GroundTruth, table: Mapping[int, object], what: str) -> Floats:
    """What `table` holds for every class, in their order."""
    ids = ground_truth.category_ids.tolist()
    missing = [category_id for category_id in ids if category_id not in table]
    if missing:
        raise DataError(
            f"{ground_truth.source}: category {missing[0]} has no {what}; give the file of the "
            "training that these predictions come from"
        )
    return np.array([table[category_id] for category_id in ids], dtype=np.float64)


def _sigmoid(logits: Floats) -> Floats:
    """Without overflow at any logit, infinite ones included."""
    half = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, half) / (1 + half)
