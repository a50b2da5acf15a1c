"""Runs side by side: repetitions grouped, means with intervals, differences to a reference."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dense_lt.evaluation.results import ClassResult
from dense_lt.report.intervals import (
    Estimate,
    mean_interval,
    paired_difference,
    welch_difference,
)
from dense_lt.report.runs import OF_MASKS, Run
from dense_lt.report.settings import (
    SEEDS_IN_NAME,
    SettingDifference,
    experiment_key,
    seeds_of,
    setting_differences,
)

BY_GROUP = {"rare": "APr", "common": "APc", "frequent": "APf"}
"""Frequency group -> its metric."""

HEADLINE = ("AP", "AP50", "AP75", "APs", "APm", "APl", *BY_GROUP.values())
"""Metrics shown at the first cap of detections, before recall."""

AT_OTHER_CAPS = ("AP", *BY_GROUP.values())

FOR_MASKS = tuple(f"{OF_MASKS}{metric}" for metric in AT_OTHER_CAPS)
"""Metrics of masks, shown at every cap where a run has predicted some."""


@dataclass(frozen=True)
class Experiment:
    """Runs that differ in their seeds only; often just one."""

    label: str
    runs: tuple[Run, ...]

    def values(self, metric: str, cap: int) -> list[float | None]:
        """The metric of every run, in [0, 1]."""
        return [run.metric(metric, cap) for run in self.runs]

    def estimate(self, metric: str, cap: int) -> Estimate:
        """Mean over the runs with its 95 % interval, in [0, 1]."""
        return mean_interval(self.values(metric, cap))

    @property
    def repeats_a_seed(self) -> bool:
        """Whether two of the runs had the same seeds, and so are no independent repetitions."""
        seeds = [seeds_of(run) for run in self.runs if run.config is not None]
        return len(set(seeds)) < len(seeds)


@dataclass(frozen=True)
class DataSet:
    """One class table and the runs that were trained with it; data seeds give several."""

    classes: tuple[ClassResult, ...]  # AP of the first run; read `average_precision` instead
    runs: tuple[tuple[Run, ...], ...]  # per experiment, perhaps empty

    def average_precision(self, experiment: int) -> list[float | None]:
        """AP of every class in [0, 1], mean over the experiment's runs on this data."""
        scores = [[score.AP for score in run.classes] for run in self.runs[experiment]]
        if not scores:
            return [None] * len(self.classes)
        return [mean_interval(values).mean for values in zip(*scores, strict=True)]


MOST_SIDE_BY_SIDE = 6
"""Experiments that are shown as columns, and have lines in figures; more become rows."""


@dataclass(frozen=True)
class Comparison:
    """What the report shows; `experiments[0]` is the reference of every difference."""

    experiments: tuple[Experiment, ...]
    settings: tuple[SettingDifference, ...]
    data_sets: tuple[DataSet, ...]

    @property
    def reference(self) -> Experiment:
        """The experiment to which differences are shown."""
        return self.experiments[0]

    @property
    def caps(self) -> list[int]:
        """Detections an image, as the reference was scored: the headline first."""
        return self.reference.runs[0].scored_caps

    @property
    def has_many(self) -> bool:
        """Whether there are more experiments than a table has columns or a figure has colours."""
        return len(self.experiments) > MOST_SIDE_BY_SIDE

    def drawn(self) -> Comparison:
        """The experiments that figures with a line for each can tell apart.

        All, or of many the reference and those of the highest AP_r, of AP where no run has that.
        """
        if not self.has_many:
            return self
        scores = [own.estimate(self.drawn_by, self.caps[0]).mean for own in self.experiments]
        others = range(1, len(scores))
        best = sorted(others, key=lambda index: -1.0 if (own := scores[index]) is None else own)
        kept = [0, *sorted(best[-(MOST_SIDE_BY_SIDE - 1) :])]
        sets = [replace(own, runs=tuple(own.runs[n] for n in kept)) for own in self.data_sets]
        return replace(
            self,
            experiments=tuple(self.experiments[index] for index in kept),
            data_sets=tuple(own for own in sets if any(own.runs)),
        )

    @property
    def drawn_by(self) -> str:
        """The metric by which `drawn` chooses."""
        cap = self.caps[0]
        known = (own.estimate("APr", cap).mean is not None for own in self.experiments)
        return "APr" if any(known) else "AP"

    def at(self, cap: int) -> str:
        """A cap in words, such as "300 detections per image"."""
        return f"{cap} detections per {self.reference.runs[0].cap_unit}"

    @property
    def metrics(self) -> list[tuple[str, int]]:
        """(metric, detections an image) of every row of the table by group."""
        first, *others = self.caps
        rows = [(metric, first) for metric in (*HEADLINE, f"AR@{first}")]
        rows += [(metric, cap) for cap in others for metric in AT_OTHER_CAPS]
        if any(run.mask_results for own in self.experiments for run in own.runs):
            rows += [(metric, cap) for cap in self.caps for metric in FOR_MASKS]
        return rows

    @property
    def unlike(self) -> list[SettingDifference]:
        """Differences in data or evaluation: such numbers may not be compared."""
        return [difference for difference in self.settings if difference.kind == "data or scoring"]

    @property
    def trained_unlike(self) -> list[SettingDifference]:
        """Differences in training besides the model and the seed."""
        return [own for own in self.settings if own.kind == "training" and own.key != "seed"]

    def is_paired(self, experiment: Experiment) -> bool:
        """Whether the experiment was run with the reference's seeds, each once."""
        own = [seeds_of(run) for run in experiment.runs]
        other = [seeds_of(run) for run in self.reference.runs]
        return None not in own and len(set(own)) == len(own) and Counter(own) == Counter(other)

    def difference(self, experiment: Experiment, metric: str, cap: int) -> Estimate:
        """`experiment` minus reference, in [0, 1]; seed by seed where both had the same seeds."""
        if not self.is_paired(experiment):
            return welch_difference(
                experiment.values(metric, cap), self.reference.values(metric, cap)
            )
        ours = {seeds_of(run): run.metric(metric, cap) for run in experiment.runs}
        theirs = {seeds_of(run): run.metric(metric, cap) for run in self.reference.runs}
        return paired_difference([ours[seeds] for seeds in theirs], list(theirs.values()))


def compare(runs: Sequence[Run], reference: Run | None = None) -> Comparison:
    """Group `runs` into experiments, in the order given, that of `reference` first."""
    assert runs, "a comparison needs at least one run"
    reference = runs[0] if reference is None else reference
    groups: dict[str, list[Run]] = {}
    for run in [reference, *(run for run in runs if run is not reference)]:
        groups.setdefault(experiment_key(run), []).append(run)
    members = [tuple(group) for group in groups.values()]
    experiments = tuple(
        Experiment(label, group) for label, group in zip(_labels(members), members, strict=True)
    )
    return Comparison(
        experiments=experiments,
        settings=tuple(setting_differences(members)),
        data_sets=_data_sets(members),
    )


def _data_sets(members: Sequence[tuple[Run, ...]]) -> tuple[DataSet, ...]:
    tables = dict.fromkeys(run.class_table for runs in members for run in runs)
    sets: list[DataSet] = []
    for table in tables:
        runs = tuple(tuple(r for r in group if r.class_table == table) for group in members)
        first = next(run for group in runs for run in group)
        sets.append(DataSet(first.classes, runs))
    return tuple(sets)


def _labels(members: Sequence[tuple[Run, ...]]) -> list[str]:
    """A name per experiment: what its runs' names begin with, told apart by folder or number."""
    labels = [_common_name([run.name for run in runs]) for runs in members]
    often = Counter(labels)
    for index, runs in enumerate(members):
        if often[labels[index]] > 1:
            labels[index] = f"{runs[0].folder.resolve().parent.name}/{labels[index]}"
    seen: Counter[str] = Counter()
    for index, label in enumerate(labels):
        seen[label] += 1
        if seen[label] > 1:
            labels[index] = f"{label} ({seen[label]})"
    return labels


def _common_name(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    common = os.path.commonprefix(names)  # noqa: RUF071 - names, letter by letter, not paths
    without_seeds = SEEDS_IN_NAME.sub("", common)
    return without_seeds.rstrip("-_. ") or names[0]
