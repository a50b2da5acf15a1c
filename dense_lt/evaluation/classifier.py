"""How long are the weights of each class? What tau-normalisation needs to know of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dense_lt.evaluation.json_files import read_json
from dense_lt.utils.errors import DataError

if TYPE_CHECKING:
    from dense_lt.models.detector import Detector

CLASSIFIER_FILE = "classifier.json"
"""Its name in a folder of evaluation results."""


@dataclass(frozen=True)
class ClassifierWeights:
    """The last layer of a detector's classifier, as far as tau-normalisation looks at it."""

    of_category: Mapping[int, tuple[float, float]]
    """Category id -> norm of the class's weights over all priors of a location, and mean bias."""
    has_quality: bool
    """Scores are multiplied by the predicted quality of the box."""

    def save(self, path: Path) -> None:
        """Write what `load` reads."""
        stored = {
            "has_quality": self.has_quality,
            "norm_and_bias": {str(key): list(value) for key, value in self.of_category.items()},
        }
        path.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> ClassifierWeights:
        """Read what `save` wrote.

        Raises:
            DataError: the file cannot be read or holds something else.
        """
        stored = read_json(path)
        try:
            rows = {
                int(key): (float(n), float(b)) for key, (n, b) in stored["norm_and_bias"].items()
            }
            return cls(rows, bool(stored["has_quality"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: holds no classifier weights: {error!r}. `eval.py RUN` writes such a file "
                f"as RUN/evaluation/{CLASSIFIER_FILE}"
            ) from error


def weights_of(detector: Detector, category_ids: Sequence[int | str]) -> ClassifierWeights | None:
    """Norms and biases of a detector whose classifier has one sigmoid logit for each class.

    Args:
        detector: its modules called `classifier` are looked at, whose outputs are the logits of
            each prior, class by class.
        category_ids: of the labels.

    Returns:
        None for other detectors: with a logit for background or objectness, with a classifier for
        every level, or with normalised weights, which have no norm to divide by.
    """
    from dense_lt.models.classifier_norms import parameters_of  # scoring needs no torch

    count = len(category_ids)
    if not count or not all(isinstance(own, int) for own in category_ids):
        return None
    found = [
        (detector.get_submodule(name.rpartition(".")[0]), parameters_of(module))
        for name, module in detector.named_modules()
        if name.rpartition(".")[2] == "classifier" and not hasattr(module, "temperature")
    ]
    found = [
        (head, own)
        for head, own in found
        if set(own) - {"scale"} == {"weight", "bias"}
        and len(own["bias"]) % count == 0
        and getattr(head, "num_logits", count) == count
    ]
    if len(found) != 1:
        return None
    head, own = found[0]
    weight, bias = (own[name].float().cpu().numpy() for name in ("weight", "bias"))
    norms = (weight.reshape(-1, count, weight[0].size) ** 2).sum(axis=(0, 2)) ** 0.5  # over A, too
    biases = bias.reshape(-1, count).mean(axis=0)
    rows = zip(map(int, category_ids), norms.tolist(), biases.tolist(), strict=True)
    quality = bool(getattr(head, "predicts_quality", False))
    return ClassifierWeights({category: (norm, bias) for category, norm, bias in rows}, quality)


def norms_of(detector: Detector, category_ids: Sequence[int | str]) -> dict[int, float] | None:
    """Category id -> length of the class's weights in the last layer; see `classifier_norms`."""
    from dense_lt.models.classifier_norms import classifier_norms  # scoring needs no torch

    norms = classifier_norms(detector, len(category_ids))
    if norms is None or not all(isinstance(own, int) for own in category_ids):
        return None
    return {int(own): norm for own, norm in zip(category_ids, norms, strict=True)}
