"""What the report says, section by section; figures and examples come ready-made."""

from __future__ import annotations

from collections.abc import Sequence

from dense_lt.data.categories import GROUPS
from dense_lt.evaluation.results import why_undefined
from dense_lt.report.comparison import BY_GROUP, FOR_MASKS, Comparison, DataSet, Experiment
from dense_lt.report.document import (
    Block,
    Bullets,
    Cell,
    Figure,
    Paragraph,
    Section,
    Table,
)
from dense_lt.report.intervals import Estimate
from dense_lt.report.runs import OF_MASKS
from dense_lt.report.settings import SEED_KEYS, SettingDifference, seeds_of
from dense_lt.report.tables import NOT_AVAILABLE, percent, signed_percent
from dense_lt.report.verdict import verdict

_IN_WORDS = {
    **{"AP": "all classes", "AP50": "at IoU 0.50", "AP75": "at IoU 0.75"},
    **{"APs": "small objects", "APm": "medium objects", "APl": "large objects"},
    **{metric: f"{group} classes" for group, metric in BY_GROUP.items()},
}
_UNLIKE = (
    "These runs differ in their data or in how they were scored ({keys}). Their numbers may not be "
    "compared as if they were alike; see the settings at the end."
)
_TRAINED_UNLIKE = (
    "The runs were also trained differently ({keys}): the model alone does not explain what "
    "separates them."
)


def title(comparison: Comparison) -> str:
    """Names of what is compared, two as run against reference; the first few of many."""
    labels = [experiment.label for experiment in comparison.experiments]
    if len(labels) == 1:
        return labels[0]
    shown = labels if len(labels) <= 3 else [*labels[:2], f"{len(labels) - 2} more"]
    return f"{shown[1]} against {shown[0]}" if len(shown) == 2 else ", ".join(shown)


def why_unlike(comparison: Comparison) -> str:
    """That the numbers may not be compared, because the data or the scoring differ."""
    return _UNLIKE.format(keys=", ".join(own.key for own in comparison.unlike))


def overview(comparison: Comparison) -> Section:
    """The verdict, what stands in the way of it, and how the numbers were made."""
    blocks: list[Block] = []
    if comparison.unlike:
        blocks.append(Paragraph(why_unlike(comparison), is_warning=True))
    repeated = [e.label for e in comparison.experiments if e.repeats_a_seed]
    if repeated:
        text = (
            f"{', '.join(repeated)}: two runs have the same seeds. They count twice, which makes "
            "the interval too narrow; leave one out."
        )
        blocks.append(Paragraph(text, is_warning=True))
    blocks.append(Bullets(tuple(verdict(comparison))))
    if comparison.trained_unlike:
        keys = ", ".join(difference.key for difference in comparison.trained_unlike)
        blocks.append(Paragraph(_TRAINED_UNLIKE.format(keys=keys)))
    blocks.append(_facts(comparison))
    return Section("overview", "", tuple(blocks))


def _facts(comparison: Comparison) -> Table:
    """What was scored, one column per experiment, or a single one where all agree."""
    columns = [_facts_of(experiment) for experiment in comparison.experiments]
    labels = [experiment.label for experiment in comparison.experiments]
    if all(column == columns[0] for column in columns):
        columns, labels = columns[:1], ["all runs" if len(labels) > 1 else labels[0]]
    rows = [
        (Cell(name), *(Cell(column.get(name, "-")) for column in columns))
        for name in dict.fromkeys(key for column in columns for key in column)
    ]
    return Table(("", *labels), tuple(rows), text_columns=1 + len(labels), label="What was scored")


def _facts_of(experiment: Experiment) -> dict[str, str]:
    run = experiment.runs[0]
    results, counts = run.results, run.results.counts
    seen, sizes = counts["categories_with_annotations"], counts["categories_by_group"]
    by_group = [f"{seen[g]} of {sizes[g]} {g}" for g in GROUPS] if seen and sizes else []
    versions = {**results.versions, **run.environment.get("versions", {})}
    facts = {
        "runs": f"{len(experiment.runs)}{_seeds(experiment)}",
        "protocol": f"{results.protocol}, {results.iou_type}",
        "most detections": f"{', '.join(map(str, run.scored_caps))} per {run.cap_unit}",
        "validation images": f"{results.counts.get('images', '-')}",
        "validation objects": f"{results.counts.get('annotations', '-')}",
        "classes with ground truth": ", ".join(by_group) or "groups not known",
        "training steps": "-" if results.step is None else f"{results.step}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    return {name: text for name, text in facts.items() if text}


def _seeds(experiment: Experiment) -> str:
    """Of every run, and of its data if runs differ in it: "(seed 0, 1; data seed 0, 1)"."""
    pairs = [pair for pair in map(seeds_of, experiment.runs) if pair is not None]
    if not pairs:
        return ""
    own, data = ([str(pair[index]) for pair in pairs] for index in range(len(SEED_KEYS)))
    text = f"seed {', '.join(own)}"
    return f" ({text}; data seed {', '.join(data)})" if len(set(data)) > 1 else f" ({text})"


def by_group(comparison: Comparison, figures: Sequence[Figure]) -> Section:
    """The table by group with differences to the reference."""
    rows: list[tuple[Cell, ...]] = []
    reasons: dict[str, list[str]] = {}
    for metric, cap in comparison.metrics:
        name = metric if cap == comparison.caps[0] else f"{metric} at {cap}"
        row = [Cell(name, _IN_WORDS.get(metric.removeprefix(OF_MASKS), "recall"))]
        for experiment in comparison.experiments:
            estimate = experiment.estimate(metric, cap)
            row.append(_score_cell(comparison, experiment, estimate, (metric, cap)))
            if estimate.mean is None and not _lacks_masks(experiment, metric):
                reason = f"{name} is {NOT_AVAILABLE}: {_why_undefined(experiment, metric, cap)}"
                reasons.setdefault(reason, []).append(experiment.label)
        rows.append(tuple(row))
    labels = [experiment.label for experiment in comparison.experiments]
    table = Table(("percent", *labels), tuple(rows), label="Scores by group")
    blocks: list[Block] = [
        table.turned() if comparison.has_many else table,
        Paragraph(_how_to_read(comparison)),
    ]
    without = [e.label for e in comparison.experiments if _lacks_masks(e, FOR_MASKS[0])]
    if 0 < len(without) < len(labels):
        text = f"Masks are {NOT_AVAILABLE}, since they were not predicted or not scored:"
        blocks.append(Paragraph(f"{text} {', '.join(without)}."))
    if reasons:
        blocks.append(Bullets(tuple(_shared(comparison, *entry) for entry in reasons.items())))
    return Section("groups", "Scores by group", (*blocks, *figures))


def _lacks_masks(experiment: Experiment, metric: str) -> bool:
    return metric in FOR_MASKS and all(run.mask_results is None for run in experiment.runs)


def _score_cell(
    comparison: Comparison, experiment: Experiment, estimate: Estimate, row: tuple[str, int]
) -> Cell:
    if estimate.mean is None:
        return Cell(NOT_AVAILABLE)
    detail = "" if estimate.half_width is None else f"± {percent(estimate.half_width)}"
    if estimate.count < len(experiment.runs):
        detail += f" ({estimate.count} of {len(experiment.runs)} runs)"
    if experiment is comparison.reference:
        return Cell(percent(estimate.mean), detail)
    difference = comparison.difference(experiment, *row)
    delta = signed_percent(difference.mean).replace("-", "\N{MINUS SIGN}")
    if difference.mean is None or difference.contains_zero is None:
        return Cell(percent(estimate.mean), detail, "" if difference.mean is None else delta)
    if difference.contains_zero:
        return Cell(percent(estimate.mean), detail, f"≈ {delta}", "noise")
    return Cell(percent(estimate.mean), detail, delta, "better" if difference.mean > 0 else "worse")


def _shared(comparison: Comparison, reason: str, labels: Sequence[str]) -> str:
    """The reason, with the experiments it holds for unless it holds for all."""
    return (
        reason if len(labels) == len(comparison.experiments) else f"{reason} ({', '.join(labels)})"
    )


def _why_undefined(experiment: Experiment, metric: str, cap: int) -> str:
    run = experiment.runs[0]
    if cap in run.scored_caps:
        return why_undefined(metric.removeprefix(OF_MASKS), run.results.counts)
    return f"scored at {', '.join(map(str, run.scored_caps))} detections only"


def _how_to_read(comparison: Comparison) -> str:
    place = "column" if comparison.has_many else "row"
    cap = f"At {comparison.at(comparison.caps[0])} unless the {place} says otherwise."
    if comparison.has_many:
        cap += (
            f" Figures with lines show {comparison.reference.label} and the "
            f"{len(comparison.drawn().experiments) - 1} of the highest {comparison.drawn_by}; a "
            "comparison of fewer runs shows others."
        )
    if all(len(experiment.runs) == 1 for experiment in comparison.experiments):
        end = (
            ""
            if len(comparison.experiments) == 1
            else (f" Differences are to {comparison.reference.label}.")
        )
        return f"{cap} Single runs: no intervals.{end}"
    texts = [cap, "± is the 95 % t-interval of the mean over runs with other seeds."]
    if len(comparison.experiments) > 1:
        texts.append(
            f"Differences are to {comparison.reference.label}; ≈ marks one whose 95 % interval "
            "contains 0, which is noise as far as these runs can tell."
        )
        others = comparison.experiments[1:]
        unpaired = [own.label for own in others if not comparison.is_paired(own)]
        if len(unpaired) < len(others):
            but = f", but not of {', '.join(unpaired)}" if unpaired else ""
            texts.append(f"They are taken seed by seed{but}.")
    texts.append("Intervals cover what the seeds change, not the choice of validation images.")
    return " ".join(texts)


def class_table(comparison: Comparison) -> Section:
    """Every class with its counts and AP in every experiment."""
    blocks: list[Block] = []
    for number, data in enumerate(comparison.data_sets, start=1):
        if len(comparison.data_sets) > 1:
            runs = [run.name for runs in data.runs for run in runs]
            text = f"Class table {number} of {len(comparison.data_sets)}: {', '.join(runs)}."
            blocks.append(Paragraph(text))
        blocks.append(_classes_of(comparison, data))
    return Section("classes", "Classes", tuple(blocks))


def _classes_of(comparison: Comparison, data: DataSet) -> Table:
    present = [index for index, runs in enumerate(data.runs) if runs]
    scores = [data.average_precision(index) for index in present]
    rows: list[tuple[Cell, ...]] = []
    # As in the figure by rank: most training images first.
    for label in sorted(
        range(len(data.classes)), key=lambda n: -(data.classes[n].train_images or 0)
    ):
        entry = data.classes[label]
        counts = [_count(entry.train_images), _count(entry.val_images)]
        values = [_ap_cell(own[label]) for own in scores]
        change = [
            Cell(signed_percent(ap), order=-9 if ap is None else ap)
            for ap in (_minus(own[label], scores[0][label]) for own in scores[1:])
        ]
        rows.append((Cell(entry.name), Cell(entry.group or "-"), *counts, *values, *change))
    labels = [comparison.experiments[index].label for index in present]
    header = ("class", "group", "training images", "validation images")
    header += tuple(f"AP {label}" for label in labels)
    header += tuple(f"change {label}" for label in labels[1:])
    return Table(header, tuple(rows), text_columns=2, is_sortable=True, label="Classes")


def _count(number: int | None) -> Cell:
    return Cell("-" if number is None else str(number), order=-1 if number is None else number)


def _ap_cell(value: float | None) -> Cell:
    return Cell(percent(value), order=-1 if value is None else value)


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def settings(comparison: Comparison) -> Section:
    """Every setting in which the experiments differ, those that make them unlike first."""
    unknown = [e.label for e in comparison.experiments if e.runs[0].config is None]
    blocks: list[Block] = []
    if unknown:
        text = f"{', '.join(unknown)}: no settings are stored, so they cannot be compared."
        blocks.append(Paragraph(text, is_warning=True))
    if comparison.settings:
        labels = [experiment.label for experiment in comparison.experiments]
        rows = tuple(_setting_row(difference) for difference in comparison.settings)
        header = ("setting", "concerns", *labels)
        blocks.append(Table(header, rows, text_columns=len(header), label="Settings that differ"))
    elif len(comparison.experiments) > 1:
        blocks.append(Paragraph("The runs do not differ in any stored setting."))
    else:
        blocks.append(Paragraph("There is one experiment, so nothing differs."))
    return Section("settings", "Settings that differ", tuple(blocks))


def _setting_row(difference: SettingDifference) -> tuple[Cell, ...]:
    kind = Cell(difference.kind, mark="worse" if difference.kind == "data or scoring" else "")
    return (Cell(difference.key), kind, *(Cell(value) for value in difference.values))
