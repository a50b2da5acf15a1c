"""The numbers of the long-tail diagnosis: shares by group, per experiment, of what runs saved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from dense_lt.data.categories import COMMON, FREQUENT, GROUPS, RARE
from dense_lt.report.comparison import Comparison, Experiment
from dense_lt.report.curves import Array, by_rank
from dense_lt.report.runs import Run

KINDS = {
    "true": "right",
    "localisation": "badly placed",
    "duplicate": "duplicate",
    f"confusion_{RARE}": "on a rare class",
    f"confusion_{COMMON}": "on a common class",
    f"confusion_{FREQUENT}": "on a frequent class",
    "both": "badly placed on another class",
    "background": "background",
}
"""Kind of a detection -> in words."""

STAGES = {
    "proposed": "a candidate",
    "covered": "any box",
    "candidate": "own class",
    "named": "best is own class",
}
"""Stages that an object passes until it is found -> in words; the first is not always known."""

Shares = Mapping[str, float | None]


class Confused(NamedTuple):
    """Objects of one class that got another name; how many in each experiment."""

    name: str
    group: str | None
    named: str
    named_group: str | None
    counts: tuple[float, ...]


def diagnosed(experiment: Experiment) -> list[Run]:
    """The runs that have a diagnosis."""
    return [run for run in experiment.runs if run.diagnosis is not None]


def kind_shares(experiment: Experiment, group: str) -> Shares:
    """Kind -> share in [0, 1] of the best detections of the group's classes, mean over runs."""
    return _shares(experiment, group, "detections", KINDS)


def stage_shares(experiment: Experiment, group: str) -> Shares:
    """Stage -> share in [0, 1] of the group's objects that reach it, mean over runs."""
    return _shares(experiment, group, "objects", STAGES)


def candidate_shares(experiment: Experiment, group: str) -> Shares:
    """Number k -> share in [0, 1] of the group's objects that one of the best k candidates covers.

    Mean over the runs that saved it; empty if none has.
    """
    found: dict[str, list[float]] = {}
    for run in diagnosed(experiment):
        rows, own = _of_group(run, group), run.diagnosis
        total = sum(own.objects["all"][k] for k in rows) if own else 0
        for number, counts in (own.candidates or {}).items() if own and total else ():
            found.setdefault(number, []).append(sum(counts[k] for k in rows) / total)
    return {number: fmean(shares) for number, shares in found.items()}


def stages_known(comparison: Comparison) -> list[str]:
    """The stages that at least one run has saved."""
    runs = [run for experiment in comparison.experiments for run in diagnosed(experiment)]
    known = {stage for run in runs if run.diagnosis for stage in run.diagnosis.objects}
    return [stage for stage in STAGES if stage in known]


def _shares(experiment: Experiment, group: str, what: str, names: Mapping[str, str]) -> Shares:
    found: dict[str, list[float]] = {name: [] for name in names}
    for run in diagnosed(experiment):
        counts = getattr(run.diagnosis, what)
        rows = _of_group(run, group)
        sums = {name: sum(own[k] for k in rows) for name, own in counts.items()}
        total = sums["all"] if what == "objects" else sum(sums.values())
        for name in names:
            if total and (name in sums or what == "detections"):
                found[name].append(sums.get(name, 0) / total)
    return {name: fmean(values) if values else None for name, values in found.items()}


def _of_group(run: Run, group: str) -> list[int]:
    """Places of the group's classes in the run's diagnosis."""
    assert run.diagnosis is not None, "only runs with a diagnosis are asked"
    group_of = {entry.category_id: entry.group for entry in run.classes}
    return [k for k, i in enumerate(run.diagnosis.category_ids) if group_of.get(i) == group]


def mean_scores(experiment: Experiment, group: str) -> tuple[float | None, float | None]:
    """Mean over classes, then over runs, of the scores of true and of the best false positives."""
    found: list[float | None] = []
    for name in ("true_score", "false_score"):
        means = []
        for run in diagnosed(experiment):
            scores = getattr(run.diagnosis, name)
            own = [scores[k] for k in _of_group(run, group) if scores[k] is not None]
            means += [fmean(own)] if own else []
        found.append(fmean(means) if means else None)
    return found[0], found[1]


def reliability(experiment: Experiment, group: str, *, fewest: int = 10) -> tuple[Array, Array]:
    """Mean score and precision of the bins with at least `fewest` detections, all runs together."""
    sums = [
        np.array([run.diagnosis.reliability[group][name] for name in ("count", "correct", "score")])
        for run in diagnosed(experiment)
        if run.diagnosis is not None and group in run.diagnosis.reliability
    ]
    if not sums:
        return np.zeros(0), np.zeros(0)
    count, correct, score = sum(sums[1:], start=sums[0])
    kept = count >= fewest
    return score[kept] / count[kept], correct[kept] / count[kept]


def relative_norms(experiment: Experiment) -> Array | None:
    """(C,) norm of each class's classifier by rank over their mean; mean over runs."""
    found = []
    for run in diagnosed(experiment):
        own = run.diagnosis
        if own is None or own.classifier_norms is None:
            continue
        norm_of = dict(zip(own.category_ids, own.classifier_norms, strict=True))
        if {entry.category_id for entry in run.classes} == set(norm_of):
            ids = [run.classes[label].category_id for label in by_rank(run)]
            found.append(np.array([norm_of[int(i)] for i in ids]) / fmean(own.classifier_norms))
    same = [own for own in found if len(own) == len(found[0])]
    return np.mean(same, axis=0) if same else None


def confused_pairs(comparison: Comparison, group: str, most: int = 12) -> list[Confused]:
    """Pairs of classes whose objects of `group` are named wrongly most often, mean over runs."""
    totals: list[Counter[tuple[str, str]]] = []
    group_of: dict[str, str | None] = {}
    for experiment in comparison.experiments:
        runs, total = diagnosed(experiment), Counter[tuple[str, str]]()
        for run in runs:
            entries = {entry.category_id: entry for entry in run.classes}
            group_of |= {entry.name: entry.group for entry in run.classes}
            for own, named, number in run.diagnosis.confused if run.diagnosis else ():
                if own in entries and named in entries and entries[own].group == group:
                    pair = (entries[own].name, entries[named].name)
                    total[pair] += number / len(runs)  # type: ignore[assignment]
        totals.append(total)
    together = sum(totals, Counter[tuple[str, str]]())
    return [
        Confused(a, group_of[a], b, group_of[b], tuple(float(own[a, b]) for own in totals))
        for (a, b), _ in sorted(together.items(), key=lambda item: (-item[1], item[0]))[:most]
    ]


def groups_present(comparison: Comparison) -> Sequence[str]:
    """The groups that have classes, rarest first."""
    known = {entry.group for data in comparison.data_sets for entry in data.classes}
    return [group for group in GROUPS if group in known]
