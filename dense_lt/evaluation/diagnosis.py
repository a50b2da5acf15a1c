"""Why does a detector fail on a class? What its wrong detections are, and where objects get lost.

Source: Hoiem et al. 2012 (as many detections of a class as it has objects are looked at), Bolya et
al. 2020, TIDE (the kinds of errors). `docs/diagnosis.md` holds the definitions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.categories import GROUPS
from dense_lt.evaluation.error_kinds import KINDS, error_kinds
from dense_lt.evaluation.ground_truth import GroundTruth
from dense_lt.evaluation.json_files import read_json
from dense_lt.evaluation.matching import match
from dense_lt.evaluation.overlap import overlapping_pairs
from dense_lt.evaluation.pairing import within_runs
from dense_lt.evaluation.predictions import Predictions
from dense_lt.evaluation.ranking import (
    CHECKED,
    NOT_EXHAUSTIVE,
    Objects,
    Ranking,
    cell_table,
    rank_detections,
    select_objects,
)
from dense_lt.evaluation.rules import ALL_SIZES, LVIS, Rules
from dense_lt.evaluation.who_is_found import NOTHING, Found, covered_by_best, find_objects
from dense_lt.utils.errors import DataError

DIAGNOSIS_FILE = "diagnosis.json"
"""Its name in a folder of evaluation results."""

BINS = 10
"""Of equal width, of the scores in [0, 1]."""

CANDIDATES = (10, 100, 1000)
"""How many of the best candidates of an image are looked at; the last is all that is."""

MOST_PAIRS = 200
"""Pairs of classes that are kept of each group of the object's class, those of most objects."""

LOWEST = 0
"""Index of IoU 0.5 among the thresholds."""

Counts = dict[str, list[int]]


@dataclass(frozen=True)
class Diagnosis:
    """Counts per class (C), in the order of `category_ids`; boxes at IoU 0.5."""

    category_ids: list[int]
    objects: Counts
    """ "all"; "proposed", where known: covered by a candidate or by what became of it; "covered" by
    any detection; "candidate": by one of its class; "named": the best detection over it has its
    class; "as_GROUP": has another class, of that group."""
    detections: Counts
    """Of the best detections of each class, as many as it has objects: how many of each kind."""
    true_score: list[float | None]
    """Mean score of the true positives."""
    false_score: list[float | None]
    """Mean score of the best false positives, as many as there are objects."""
    reliability: dict[str, dict[str, list[float]]]
    """Group -> "count", "correct" and sum of "score" of the detections in each bin of scores."""
    confused: list[tuple[int, int, int]]
    """Category of an object, category that it was named, number of objects; most first."""
    classifier_norms: list[float] | None = None
    """Length of each class's weights in the last layer; None if there is no such thing."""
    candidates: Counts | None = None
    """Number k, as text -> objects that one of the image's k best candidates covers, before classes
    are looked at; None if nobody looked."""

    def save(self, path: Path) -> None:
        """Write what `load` reads."""
        path.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Diagnosis:
        """Read what `save` wrote.

        Raises:
            DataError: the file cannot be read or holds something else.
        """
        stored: Any = read_json(path)
        try:
            own = cls(**stored)
        except TypeError as error:
            raise DataError(f"{path}: holds no diagnosis: {error}; evaluate again") from error
        return replace(own, confused=[(a, b, n) for a, b, n in own.confused])


def diagnose(
    truth: GroundTruth,
    predictions: Predictions,
    *,
    rules: Rules = LVIS,
    cap: int = 300,
    norms: Mapping[int, float] | None = None,
    candidates: NDArray[np.int64] | None = None,
) -> Diagnosis:
    """Look at boxes at IoU 0.5.

    Args:
        truth: of all images, with frequency groups, or else all classes are one group "all".
        predictions: with boxes.
        rules: which detections count.
        cap: of detections, by these rules.
        norms: category id -> length of the classifier's weights.
        candidates: (G,) place of the first candidate on each object of `truth`; see
            `CandidateWatch`.

    Raises:
        DataError: predictions have no boxes, or do not belong to the truth.
    """
    if predictions.boxes is None:
        raise DataError(f"{predictions.source}: the diagnosis needs a `bbox` of every detection")
    count = len(truth.category_ids)
    objects = select_objects(truth, rules, "bbox")
    table = cell_table(truth, objects, rules)
    # Of what nobody looked for, detections say where they lie, but not whether they are wrong.
    everywhere = table | np.uint8(CHECKED)
    ranking = rank_detections(truth, everywhere, predictions, rules, caps=(cap,), iou_type="bbox")
    is_checked = (table[ranking.image, ranking.category] & CHECKED) > 0
    is_true, counts = _judge(ranking, objects, is_checked, count)
    real = _without(objects, objects.ignore | objects.crowd)
    number = np.bincount(real.category, minlength=count)
    groups, group_of = _groups(truth)
    best = _best(np.flatnonzero(counts), ranking, number)
    wrong = _best(np.flatnonzero(counts & ~is_true), ranking, number)
    kinds = error_kinds(ranking, real, best[~is_true[best]], group_of)
    found = find_objects(ranking, real)
    reach, by_class = _reach(candidates, real), partial(_by_class, real, count=count)
    return Diagnosis(
        category_ids=truth.category_ids.tolist(),
        objects=_objects(found, real, number, groups, group_of)
        | ({"proposed": by_class(found.is_covered | list(reach.values())[-1])} if reach else {}),
        detections=_kinds(kinds, ranking, best, is_true, groups, count),
        true_score=_means(ranking, np.flatnonzero(is_true), count),
        false_score=_means(ranking, wrong, count),
        reliability=_reliability(ranking, is_true, counts, groups, group_of),
        confused=_confused(found.name, real, truth.category_ids, group_of),
        classifier_norms=_in_order(norms, truth),
        candidates={k: by_class(own) for k, own in reach.items()} or None,
    )


def _judge(
    ranking: Ranking, objects: Objects, is_checked: NDArray[np.bool_], count: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which detections (N,) are true positives, and which count at all."""
    matches = match(ranking, objects, overlapping_pairs(ranking, objects, count), count)
    is_true, is_matched = np.zeros((2, len(ranking)), bool)
    is_true[matches.detection] = matches.found[ALL_SIZES, LOWEST]
    is_matched[matches.detection] = matches.matched[ALL_SIZES, LOWEST]
    may_be_right = ~is_matched & ((ranking.cells & NOT_EXHAUSTIVE) > 0)
    return is_true, is_checked & ~may_be_right & (is_true | ~is_matched)


def _without(objects: Objects, left_out: NDArray[np.bool_]) -> Objects:
    kept = np.flatnonzero(~left_out)
    columns = ("index", "image", "category", "boxes", "areas", "mask_areas", "ignore", "crowd")
    return replace(objects, **{name: getattr(objects, name)[kept] for name in columns}, masks=None)


def _groups(truth: GroundTruth) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names of the groups and the group of each class (C,)."""
    if truth.groups is None:
        return ("all",), np.zeros(len(truth.category_ids), np.int64)
    return GROUPS, np.array([GROUPS.index(name) for name in truth.groups], np.int64)


def _best(
    rising: NDArray[np.int64], ranking: Ranking, number: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Of the detections at `rising`, the best `number` (C,) of each class."""
    category = ranking.category[rising]
    return rising[within_runs(category) < number[category]]


def _objects(
    found: Found,
    objects: Objects,
    number: NDArray[np.int64],
    groups: tuple[str, ...],
    group_of: NDArray[np.int64],
) -> Counts:
    by_class = partial(_by_class, objects, count=len(number))
    is_named = found.name == objects.category
    name_group = np.where(found.name == NOTHING, -1, group_of[found.name])
    return {
        "all": number.tolist(),
        "covered": by_class(found.is_covered),
        "candidate": by_class(found.is_candidate),
        "named": by_class(is_named),
        **{f"as_{g}": by_class((name_group == k) & ~is_named) for k, g in enumerate(groups)},
    }


def _by_class(objects: Objects, kept: NDArray[np.bool_], *, count: int) -> list[int]:
    return np.bincount(objects.category[kept], minlength=count).tolist()


def _reach(candidates: NDArray[np.int64] | None, objects: Objects) -> dict[str, NDArray[np.bool_]]:
    """Number k of CANDIDATES, rising -> which objects (G,) the best k cover; empty if not known."""
    place = None if candidates is None else candidates[objects.index]
    reach = {str(k): covered_by_best(place, k) for k in CANDIDATES}
    return {k: own for k, own in reach.items() if own is not None}


def _kinds(
    kinds: NDArray[np.int64],
    ranking: Ranking,
    best: NDArray[np.int64],
    is_true: NDArray[np.bool_],
    groups: tuple[str, ...],
    count: int,
) -> Counts:
    wrong = ranking.category[best[~is_true[best]]]
    right = ranking.category[best[is_true[best]]]
    names = (*KINDS, *(f"confusion_{group}" for group in groups))
    by_kind = [np.bincount(wrong[kinds == k], minlength=count).tolist() for k in range(len(names))]
    return {
        "true": np.bincount(right, minlength=count).tolist(),
        **dict(zip(names, by_kind, strict=True)),
    }


def _means(ranking: Ranking, chosen: NDArray[np.int64], count: int) -> list[float | None]:
    category = ranking.category[chosen]
    number = np.bincount(category, minlength=count)
    sums = np.bincount(category, weights=ranking.scores[chosen], minlength=count)
    return [s / n if n else None for s, n in zip(sums.tolist(), number.tolist(), strict=True)]


def _reliability(
    ranking: Ranking,
    is_true: NDArray[np.bool_],
    counts: NDArray[np.bool_],
    groups: tuple[str, ...],
    group_of: NDArray[np.int64],
) -> dict[str, dict[str, list[float]]]:
    scores, correct = ranking.scores[counts], is_true[counts]
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    key = group_of[ranking.category[counts]] * BINS + bins
    sums = {
        name: np.bincount(key, weights=weights, minlength=len(groups) * BINS).reshape(-1, BINS)
        for name, weights in (("count", None), ("correct", correct * 1.0), ("score", scores))
    }
    return {g: {name: own[k].tolist() for name, own in sums.items()} for k, g in enumerate(groups)}


def _confused(
    names: NDArray[np.int64],
    objects: Objects,
    ids: NDArray[np.int64],
    group_of: NDArray[np.int64],
) -> list[tuple[int, int, int]]:
    wrong = (names != NOTHING) & (names != objects.category)
    key = objects.category[wrong].astype(np.int64) * len(ids) + names[wrong]
    pairs, number = np.unique(key, return_counts=True)
    order = np.argsort(-number, kind="stable")
    group = group_of[pairs[order] // len(ids)]
    # A rare class has few objects: among the pairs of all classes its own would be cut off.
    by_group = np.argsort(group, kind="stable")
    kept = by_group[within_runs(group[by_group]) < MOST_PAIRS]
    order = order[np.sort(kept)]
    own, name = ids[pairs[order] // len(ids)], ids[pairs[order] % len(ids)]
    return list(zip(own.tolist(), name.tolist(), number[order].tolist(), strict=True))


def _in_order(norms: Mapping[int, float] | None, truth: GroundTruth) -> list[float] | None:
    ids = truth.category_ids.tolist()
    return None if norms is None or not set(ids) <= set(norms) else [norms[i] for i in ids]
