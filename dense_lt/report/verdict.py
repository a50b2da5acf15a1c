"""Who wins where, in sentences that claim no more than the numbers do."""

from __future__ import annotations

from collections.abc import Sequence

from dense_lt.report.comparison import BY_GROUP, Comparison, Experiment
from dense_lt.report.tables import percent, signed_percent

_METRICS = ("AP", *BY_GROUP.values())


def verdict(comparison: Comparison) -> list[str]:
    """One sentence on who leads, one for each experiment against the reference, one on chance.

    Where there are many, the table has to say it instead of a page of sentences.
    """
    reference, *others = comparison.experiments
    cap = comparison.caps[0]
    if not others:
        scores = [f"{m} {percent(reference.estimate(m, cap).mean)}" for m in _METRICS]
        runs = f", mean of {len(reference.runs)} runs" if len(reference.runs) > 1 else ""
        return [
            f"{reference.label}: {', '.join(scores)} (percent, {comparison.at(cap)}{runs}); "
            "there is nothing to compare it with."
        ]
    compared = () if comparison.has_many else others
    against = [_against(comparison, experiment, cap) for experiment in compared]
    return [_leaders(comparison, cap), *against, *_on_chance(comparison)]


def _leaders(comparison: Comparison, cap: int) -> str:
    leads: dict[str, list[str]] = {}
    for metric in _METRICS:
        known = {e.label: e.estimate(metric, cap).mean for e in comparison.experiments}
        shown = {label: percent(mean) for label, mean in known.items() if mean is not None}
        if not shown:
            continue
        most = max(shown.values(), key=float)
        names = _list([label for label, text in shown.items() if text == most])
        below = [text for text in shown.values() if text != most]
        second = f"; next {max(below, key=float)}" if below else ""
        leads.setdefault(names, []).append(f"{metric} ({most}{second})")
    parts = [f"{names} on {_list(metrics)}" for names, metrics in leads.items()]
    return f"Highest in percent, at {comparison.at(cap)}: {'; '.join(parts) or 'none'}."


def _against(comparison: Comparison, experiment: Experiment, cap: int) -> str:
    found: dict[str, list[str]] = {claim: [] for claim in _CLAIMS}
    for metric in _METRICS:
        difference = comparison.difference(experiment, metric, cap)
        if difference.mean is not None:
            text = f"{metric} ({signed_percent(difference.mean)})"
            found[_claim(difference.mean, difference.contains_zero)].append(text)
    clauses = [f"{claim} {_list(texts)}" for claim, texts in found.items() if texts]
    claim = ", ".join(clauses) if clauses else "without a common number"
    return f"Against {comparison.reference.label}, {experiment.label} is {claim}."


_CLAIMS = ("better on", "worse on", "higher on", "lower on", "level on", "within the noise on")


def _claim(difference: float, is_noise: bool | None) -> str:
    """Better and worse need an interval; without one, a run is higher or lower."""
    if is_noise:
        return "within the noise on"
    if is_noise is None:
        if signed_percent(difference) == "0.0":
            return "level on"
        return "higher on" if difference > 0 else "lower on"
    return "better on" if difference > 0 else "worse on"


def _on_chance(comparison: Comparison) -> list[str]:
    single = [e.label for e in comparison.experiments if len(e.runs) == 1]
    if not single:
        return []
    if len(single) == len(comparison.experiments):
        return [
            "These are single runs, so there are no intervals: how much of a difference is chance "
            "is not known. Repeat the runs with other seeds before claiming it."
        ]
    return [f"{_list(single)}: a single run, so there is no interval for it or against it."]


def _list(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
