"""What did a wrong detection mistake for an object of its class? Kinds of errors as in TIDE."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.pairing import pairs_by_key
from dense_lt.evaluation.ranking import Objects, Ranking

FOREGROUND, BACKGROUND = 0.5, 0.1
"""IoU from which a box holds an object, and below which it has nothing to do with it (TIDE)."""

KINDS = ("duplicate", "localisation", "both", "background")
"""Kinds 0 to 3; from CONFUSION on: confusion with a class of group kind - CONFUSION."""

DUPLICATE, LOCALISATION, BOTH, NOTHING_THERE = range(len(KINDS))
CONFUSION = len(KINDS)


def error_kinds(
    ranking: Ranking,
    objects: Objects,
    wrong: NDArray[np.int64],
    group_of: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The kind (F,) of each false positive; the first that fits, in the order below.

    With s the largest IoU with an object of the detection's own class and o with one of another:
    duplicate: s >= 0.5, and a better detection has that object; localisation: s >= 0.1; confusion:
    o >= 0.5; both: o >= 0.1; background: neither.

    Args:
        ranking: of all detections.
        objects: those that count.
        wrong: (F,) places of the false positives in the ranking.
        group_of: (C,) index of the group of each class.
    """
    same, other = np.zeros((2, len(wrong)))
    mistaken = np.zeros(len(wrong), np.int64)
    image, category = ranking.image[wrong].astype(np.int64), ranking.category[wrong]
    for row, target in pairs_by_key(image, objects.image.astype(np.int64)):
        overlap = box_iou(ranking.boxes[wrong[row]], objects.boxes[target])
        is_same = category[row] == objects.category[target]
        np.maximum.at(same, row[is_same], overlap[is_same])
        np.maximum.at(other, row[~is_same], overlap[~is_same])
        best = np.flatnonzero(~is_same & (overlap == other[row]) & (overlap > 0))
        mistaken[row[best]] = objects.category[target[best]]
    return np.select(
        [same >= FOREGROUND, same >= BACKGROUND, other >= FOREGROUND, other >= BACKGROUND],
        [DUPLICATE, LOCALISATION, CONFUSION + group_of[mistaken], BOTH],
        NOTHING_THERE,
    )


def box_iou(boxes: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """IoU (P,) of pairs of boxes xywh (P, 4), 0 where both are empty."""
    low = np.maximum(boxes[:, :2], others[:, :2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:])
    sides = np.clip(high - low, 0, None)
    shared = sides[:, 0] * sides[:, 1]
    union = boxes[:, 2] * boxes[:, 3] + others[:, 2] * others[:, 3] - shared
    return np.divide(shared, union, out=np.zeros(len(shared)), where=union > 0)
