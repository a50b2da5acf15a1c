"""The sections of the diagnosis: why do rare classes fail, and does this run do better?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dense_lt.data.categories import GROUPS, RARE
from dense_lt.report import diagnosis, diagnosis_plots
from dense_lt.report.comparison import Comparison, Experiment
from dense_lt.report.document import Block, Bullets, Cell, Figure, Paragraph, Section, Table
from dense_lt.report.mapping import QUANTITIES, mapped, told_apart
from dense_lt.report.panels import legend_rows
from dense_lt.report.style import Hover, draw
from dense_lt.report.tables import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

Paint = Callable[["Drawing", Comparison], Hover | None]

_LEGEND_OF_KINDS = 4  # rows

# Of figures: what they show in words, and the caption.
_FOUND = (
    "Share of objects of each group that any box covers, that a box of their class covers, and "
    "whose best box has their class. The table has the numbers.",
    "Recall step by step, IoU 0.5. Candidates are the boxes before classes are looked at: "
    "proposals, or the 1,000 best of a dense head. An object without any was lost before "
    "classification. From a candidate to any box: no score was high enough to be kept, or the box "
    "was moved off. To own class: it was kept under other names alone. To the last: another class "
    "outscores its own.",
)
_KINDS = (
    "Stacked bars: kinds of the best detections of each group's classes. The table has the "
    "numbers.",
    "The best detections of each class, as many as it has objects: without errors all would be "
    "right.",
)
_RELIABILITY = (
    "Precision against score in ten bins, one panel per group, with the diagonal.",
    "Bins of scores with at least 10 detections. Below the dotted line scores are too high, above "
    "it too low.",
)


def balance_section(comparison: Comparison, folder: Path) -> Section:
    """What the losses make of the gradient ratio, and the classifiers that come of it."""
    blocks: list[Block] = []
    functions = [mapped(experiment) for experiment in comparison.experiments]
    without = [
        experiment.label
        for experiment, own in zip(comparison.experiments, functions, strict=True)
        if own is None
    ]
    drawn = told_apart([own for own in functions if own])
    if drawn:
        paint = partial(diagnosis_plots.mapping, mapped=functions)
        caption = (
            "What the loss makes of a class's gradient ratio, at the parameters used; a line that "
            "is level treats all classes alike. Marks r, c and f: the mean ratio of the rare, "
            "common and frequent classes at the end of training."
        )
        words = ", ".join(QUANTITIES[name] for name in drawn)
        alt = f"{words} against the gradient ratio, a line per experiment."
        height = 1.8 * len(drawn)
        blocks.append(_figure(comparison, folder, "mapping_function", height, paint, alt, caption))
    elif len(without) < len(functions):
        text = "No mapping function is drawn: every loss here treats all classes alike."
        blocks.append(Paragraph(text))
    if without:
        text = f"No mapping function, since their losses do not look at it: {', '.join(without)}."
        blocks.append(Paragraph(text))
    blocks.append(_over_training(comparison, folder))
    blocks += [_norms(comparison, folder), *_norms_over_training(comparison, folder)]
    return Section("balance", "What the loss does to a class", tuple(blocks))


def _over_training(comparison: Comparison, folder: Path) -> Block:
    lines = [line for e in comparison.experiments for run in e.runs for line in run.train_lines]
    logged = {key for line in lines[:: max(1, len(lines) // 500)] for key in line}
    ends = tuple(f"/{key}".rsplit("/", 2)[1] for key in logged if key.endswith(GROUPS))
    names = [name for name in QUANTITIES if name in ends]
    if not names:
        return Paragraph("Exponents and weights over training are not drawn: no loss logged them.")
    return _figure(
        comparison,
        folder,
        "balance_by_step",
        0.8 + 1.2 * len(names),
        partial(diagnosis_plots.balance_by_step, quantities=names),
        f"{', '.join(QUANTITIES[name] for name in names)} of rare, common and frequent classes "
        "over training steps.",
        "Mean over the classes of a group, as logged; one line per run and loss over the classes.",
    )


def _norms(comparison: Comparison, folder: Path) -> Block:
    known = [e.label for e in comparison.experiments if diagnosis.relative_norms(e) is not None]
    if not known:
        return Paragraph(
            "Classifier norms are not drawn: they were not saved (`dense-lt eval RUN` saves them), "
            "or the classifier has no weights of a class."
        )
    return _figure(
        comparison,
        folder,
        "classifier_norms",
        3.4,
        diagnosis_plots.classifier_norms,
        f"Norm of the classifier's weights of every class over their mean, by class rank, of "
        f"{', '.join(known)}.",
        "Length of each class's weights in the last layer, over the mean of all classes (mean over "
        f"seeds); lines are smoothed over ranks. Known of: {', '.join(known)}.",
    )


def _norms_over_training(comparison: Comparison, folder: Path) -> list[Block]:
    runs = [run for experiment in comparison.experiments for run in experiment.runs]
    if not diagnosis.groups_present(comparison) or all(len(r.norm_snapshots) < 2 for r in runs):
        return []  # a run saves them at evaluations, or every `train.statistics_every` steps
    figure = _figure(
        comparison,
        folder,
        "classifier_norms_by_step",
        2.0,
        diagnosis_plots.norms_by_step,
        "Mean norm of the classifier's weights of rare, common and frequent classes, over the mean "
        "of all classes, against the training step.",
        "Length of the classes' weights in the last layer over training: the mean of a group over "
        "the mean of all classes; one line per run.",
    )
    return [figure]


def diagnosis_section(comparison: Comparison, folder: Path) -> Section:
    """Where objects get lost, what false positives are, what scores mean, which names are wrong."""
    heading = ("diagnosis", "Why classes fail")
    missing = [e for e in comparison.experiments if not diagnosis.diagnosed(e)]
    reasons = [Paragraph(f"{e.label}: no diagnosis: {e.runs[0].no_diagnosis}.") for e in missing]
    groups = diagnosis.groups_present(comparison)
    if len(missing) == len(comparison.experiments) or not groups:
        unknown = [] if groups else [Paragraph("There is none: frequency groups are not known.")]
        return Section(*heading, (*unknown, *reasons))
    lost = [_where_lost(e) for e in comparison.experiments if e not in missing]
    panels, rows = 0.55 + 1.75 * len(groups), 0.55 + 0.28 * len(comparison.experiments)
    bars = 0.22 * _LEGEND_OF_KINDS + len(groups) * rows + 0.4
    few = comparison.drawn()
    figures = [
        _figure(comparison, folder, "error_kinds", bars, diagnosis_plots.error_kinds, *_KINDS)
    ]
    if any(map(diagnosis.diagnosed, few.experiments)):
        found, reliable = diagnosis_plots.stages, diagnosis_plots.reliability
        figures.insert(0, _figure(few, folder, "objects_found", panels, found, *_FOUND))
        figures.append(_figure(few, folder, "reliability", panels, reliable, *_RELIABILITY))
        figures.append(_mean_scores(few, folder))
    tables = (_numbers(comparison), *_confusion(comparison))
    return Section(*heading, (*reasons, Bullets(tuple(lost)), *figures, *tables))


def _mean_scores(comparison: Comparison, folder: Path) -> Figure:
    return _figure(
        comparison,
        folder,
        "mean_scores",
        3.2,
        diagnosis_plots.mean_scores,
        f"Mean scores by group on a logarithmic axis. {_scores_in_words(comparison)}",
        "Filled: true positives. Hollow: the best false positives of each class, as many as it has "
        "objects. Where hollow is above filled, errors outrank finds.",
    )


def _figure(
    comparison: Comparison,
    folder: Path,
    name: str,
    axes: float,
    paint: Paint,
    alt: str,
    caption: str,
) -> Figure:
    labels = [experiment.label for experiment in comparison.experiments]
    height = axes + 0.22 * legend_rows(labels) + 0.1
    svg = draw(folder, name, height, lambda figure: paint(figure, comparison))
    return Figure(name, svg, alt=alt, caption=caption)


def _where_lost(experiment: Experiment) -> str:
    """Between which stages most rare objects are lost, in a sentence."""
    shares = diagnosis.stage_shares(experiment, RARE)
    proposed, *others = shares.values()
    known = [share for share in others if share is not None]
    if len(known) < len(others):
        return f"{experiment.label}: there are no rare objects to follow."
    covered, candidate, named = known
    before = {"before classification: no box covers them": 1 - covered}
    if proposed is not None:
        before = {
            "before classification: no candidate covers them": 1 - proposed,
            "in classification: a candidate covers them, but no box that was kept": proposed
            - covered,
        }
    losses = {
        **before,
        "in classification: a box covers them, but none of their class": covered - candidate,
        "in ranking: another class outscores theirs": candidate - named,
    }
    where = max(losses, key=lambda name: losses[name])
    first = "" if proposed is None else f"{percent(proposed)} % have a candidate, "
    return (
        f"{experiment.label}: of the rare objects {first}{percent(covered)} % are covered by a "
        f"box, {percent(candidate)} % by one of their class, and of {percent(named)} % the best "
        f"box has their class. The largest part is lost {where} ({percent(losses[where])} %)."
    )


def _scores_in_words(comparison: Comparison) -> str:
    texts = []
    for experiment in comparison.experiments:
        for group in diagnosis.groups_present(comparison):
            right, wrong = diagnosis.mean_scores(experiment, group)
            if right is not None and wrong is not None:
                texts.append(f"{experiment.label}, {group}: {right:.3f} right, {wrong:.3f} wrong")
    return "; ".join(texts) + "."


def _numbers(comparison: Comparison) -> Table:
    rows: list[tuple[Cell, ...]] = []
    known = {stage: diagnosis.STAGES[stage] for stage in diagnosis.stages_known(comparison)}
    best = {k: f"one of the {k} best candidates" for k in _numbers_of_candidates(comparison)}
    for group in diagnosis.groups_present(comparison):
        for kinds, words, what in (
            (diagnosis.candidate_shares, best, "objects covered by"),
            (diagnosis.stage_shares, known, "objects covered by"),
            (diagnosis.kind_shares, diagnosis.KINDS, "detections"),
        ):
            columns = [kinds(experiment, group) for experiment in comparison.experiments]
            rows += [
                (
                    Cell(group),
                    Cell(f"{what}: {text}"),
                    *(Cell(percent(own.get(name)), order=own.get(name) or 0) for own in columns),
                )
                for name, text in words.items()
            ]
    labels = [experiment.label for experiment in comparison.experiments]
    header = ("classes", "percent", *labels)
    return Table(header, tuple(rows), text_columns=2, is_sortable=True, label="Diagnosis by group")


def _numbers_of_candidates(comparison: Comparison) -> list[str]:
    groups = diagnosis.groups_present(comparison)
    shares = [diagnosis.candidate_shares(e, g) for e in comparison.experiments for g in groups]
    return sorted({number for own in shares for number in own}, key=int)


def _confusion(comparison: Comparison) -> list[Block]:
    pairs = diagnosis.confused_pairs(comparison, RARE)
    if not pairs:
        return [Paragraph("No rare object got the name of another class.")]
    labels = [experiment.label for experiment in comparison.experiments]
    rows = tuple(
        (
            Cell(own.name),
            Cell(own.named, own.named_group or ""),
            *(Cell(f"{count:g}" if count % 1 == 0 else f"{count:.1f}") for count in own.counts),
        )
        for own in pairs
    )
    text = (
        "Rare objects whose best box has another class: the commonest pairs, with the number of "
        "objects (mean over seeds)."
    )
    header = ("rare class", "got the name of", *labels)
    return [Paragraph(text), Table(header, rows, text_columns=2, label="Confused rare classes")]
