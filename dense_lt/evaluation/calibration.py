"""Scores changed after training, by how often a class was seen in training.

Only the order of detections of different classes changes, so average precision changes through the
cap of detections per image (and AP-pool through the ranking); keep many detections per image.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dense_lt.evaluation.ground_truth import GroundTruth, look_up
from dense_lt.evaluation.predictions import Predictions
from dense_lt.utils.errors import DataError


def norcal(predictions: Predictions, ground_truth: GroundTruth, gamma: float) -> Predictions:
    """Divide the odds of every score by its class's number of training images to the power `gamma`.

    score' = s / a / (s / a + 1 - s) with a = (N_c / N_max)^gamma. For independent sigmoid scores
    this is NorCal and logit adjustment alike: the logit moves by -gamma log N_c, and a constant
    common to all classes moves no ranking. A class without training images counts as seen once.

    Args:
        predictions: of a detector with independent (sigmoid) scores.
        ground_truth: names the classes; its training image counts are used.
        gamma: 0 changes nothing, 1 divides by the full frequency.

    Raises:
        DataError: training image counts are not known.

    Source: Pan et al. 2021 (NorCal), Menon et al. 2021 (logit adjustment).
    """
    if ground_truth.train_images is None:
        raise DataError(
            f"{ground_truth.source}: calibration needs the number of training images of each "
            "class; give --train-annotations or --categories"
        )
    counts = np.maximum(np.array(ground_truth.train_images, dtype=np.float64), 1)
    factor = (counts / counts.max(initial=1)) ** gamma
    category, known = look_up(ground_truth.category_ids, predictions.category_ids)
    own = np.where(known, factor[category], 1.0)
    scores = predictions.scores.astype(np.float64)
    return replace(predictions, scores=scores / (scores + own * (1 - scores)))
