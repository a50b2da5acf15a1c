"""Average precision of LVIS and of COCO over columns: cap and rank, overlap, match, read off.

There is no loop over images, categories or detections. Numbers equal the `lvis` package's and
pycocotools' (the tests compare), to which EVAL rules and order of ties are owed.

Source: Gupta, Dollar and Girshick 2019 (LVIS); Lin et al. 2014 (COCO).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.curves import Curves, count_objects, measure
from dense_lt.evaluation.ground_truth import GroundTruth
from dense_lt.evaluation.matching import Matches, match
from dense_lt.evaluation.overlap import overlapping_pairs
from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.ranking import (
    Objects,
    Ranking,
    cell_table,
    rank_detections,
    select_objects,
)
from dense_lt.evaluation.rules import IouType, MaskArea, Rules


@dataclass(frozen=True)
class Matched:
    """Everything that curves, intervals and protocols with other caps are made from."""

    objects: Objects
    ranking: Ranking
    matches: Matches
    num_objects: NDArray[np.int64]  # (A, C)

    def curves(self, cap: int) -> Curves:
        """Curves of the detections within `cap`."""
        return measure(self.ranking, self.matches, self.num_objects, cap)


def match_detections(
    ground_truth: GroundTruth,
    predictions: Predictions,
    rules: Rules,
    *,
    caps: tuple[int, ...],
    iou_type: IouType = "bbox",
    mask_area: MaskArea = "mask",
) -> Matched:
    """Match all detections once, for every cap of `caps`.

    Raises:
        DataError: predictions and ground truth do not belong together.
    """
    num_categories = len(ground_truth.category_ids)
    objects = select_objects(ground_truth, rules, iou_type)
    table = cell_table(ground_truth, objects, rules)
    ranking = rank_detections(
        ground_truth,
        table,
        predictions,
        rules,
        caps=caps,
        iou_type=iou_type,
        mask_area=mask_area,
    )
    pairs = overlapping_pairs(ranking, objects, num_categories, iou_type)
    matches = match(ranking, objects, pairs, num_categories)
    return Matched(objects, ranking, matches, count_objects(objects, num_categories))
