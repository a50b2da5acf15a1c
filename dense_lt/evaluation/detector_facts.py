"""What the report and calibration want to know of a detector, so that they need no weights."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from dense_lt.evaluation.classifier import CLASSIFIER_FILE, norms_of, weights_of
from dense_lt.evaluation.cost import COST_FILE, measure_cost
from dense_lt.models.detector import Detector
from dense_lt.structures import Batch

logger = logging.getLogger(__name__)


def save_facts(
    detector: Detector,
    loader: Iterable[Batch],
    device: torch.device,
    category_ids: Sequence[int | str],
    folder: Path,
) -> dict[int, float] | None:
    """Write what it costs and how long its classifier's weights are, as far as there is such.

    Returns:
        Category id -> length of the class's weights; see `norms_of`.
    """
    path = folder / CLASSIFIER_FILE
    path.unlink(missing_ok=True)  # an earlier detector's
    if (weights := weights_of(detector, category_ids)) is not None:
        weights.save(path)
    else:
        logger.info(
            "%s is not written, so --tau-norm is not for these predictions: it needs integer "
            "category ids and one classifier with a sigmoid logit for each class, without one for "
            "background or objectness and without normalised weights",
            path,
        )
    if (cost := measure_cost(detector, loader, device)) is not None:
        cost.save(folder / COST_FILE)
    return norms_of(detector, category_ids)
