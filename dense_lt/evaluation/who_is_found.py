"""Where does an object get lost: is there no box over it, none of its class, or none on top?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dense_lt.evaluation.error_kinds import FOREGROUND, box_iou
from dense_lt.evaluation.pairing import pairs_by_key
from dense_lt.evaluation.ranking import Objects, Ranking

NOTHING = -1
"""The name of an object that no detection covers."""

UNSEEN = -1
"""Place of the first candidate on an object whose image nobody looked at."""

NEVER = int(np.iinfo(np.int64).max)
"""Place of the first candidate on an object that has none."""


@dataclass(frozen=True)
class Found:
    """What became of each of the G objects."""

    is_covered: NDArray[np.bool_]  # (G,) by a detection of any class, with an IoU of at least 0.5
    is_candidate: NDArray[np.bool_]  # (G,) by one of its own class
    name: NDArray[np.int64]  # (G,) class of the best detection that covers it, or NOTHING


def find_objects(ranking: Ranking, objects: Objects) -> Found:
    """Look at all pairs of one image; detections need not choose one object."""
    number = len(objects.category)
    is_covered, is_candidate = np.zeros((2, number), bool)
    name = np.full(number, NOTHING)
    best_first = np.argsort(-ranking.scores, kind="stable")
    image = ranking.image[best_first].astype(np.int64)
    for row, target in pairs_by_key(image, objects.image.astype(np.int64)):
        detection = best_first[row]
        covers = box_iou(ranking.boxes[detection], objects.boxes[target]) >= FOREGROUND
        detection, target = detection[covers], target[covers]
        category = ranking.category[detection]
        is_covered[target] = True
        is_candidate[target[category == objects.category[target]]] = True
        # Pairs come with the best detection first; of several assignments the last one stays.
        unnamed = np.flatnonzero(name[target] == NOTHING)[::-1]
        name[target[unnamed]] = category[unnamed]
    return Found(is_covered, is_candidate, name)


def covered_by_best(place: NDArray[np.int64] | None, count: int) -> NDArray[np.bool_] | None:
    """Whether one of the best `count` candidates of its image covers each object (G,).

    Args:
        place: (G,) of the first candidate that covers it, UNSEEN, or NEVER.
        count: how many candidates are looked at.

    Returns:
        None where that is not known: nobody looked, or not at the images of all objects.
    """
    if place is None or (place == UNSEEN).any():
        return None
    return place < count
