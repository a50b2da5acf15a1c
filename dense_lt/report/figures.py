"""The sections that are drawings: what is drawn, what captions say, what if data is missing."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from dense_lt.data.categories import RARE
from dense_lt.report import curves, plots
from dense_lt.report.comparison import BY_GROUP, Comparison, Experiment
from dense_lt.report.document import Block, Figure, Paragraph, Section
from dense_lt.report.mapping import uses_ratio
from dense_lt.report.panels import legend_rows
from dense_lt.report.style import draw
from dense_lt.report.tables import percent

INACTIVE_RATIO = 0.95
"""Above this mean ratio of the rare classes, equalized losses treat all classes alike."""

_INACTIVE = (
    "{label}: the mean gradient ratio of the rare classes is above 0.95, so its loss treated rare "
    "classes like all others. A higher model.head.prior_probability lowers the ratio."
)


def group_figures(comparison: Comparison, folder: Path) -> list[Figure]:
    """AP by group at every cap of detections."""
    made: list[Figure] = []
    for cap in comparison.caps:
        paint = partial(plots.average_precision_by_group, comparison=comparison, cap=cap)
        numbers = "; ".join(
            f"{experiment.label}: "
            + ", ".join(
                f"{m} {percent(experiment.estimate(m, cap).mean)}" for m in BY_GROUP.values()
            )
            for experiment in comparison.experiments
        )
        repeated = any(len(experiment.runs) > 1 for experiment in comparison.experiments)
        bars = " Bars are 95 % intervals over seeds." if repeated else ""
        name = f"ap_by_group_{cap}"
        lines = 1.1 + 0.24 * len(comparison.experiments)
        height = lines if comparison.has_many else _height(comparison, 3.1)
        made.append(
            Figure(
                name,
                draw(folder, name, height, paint),
                alt=f"AP by frequency group at {comparison.at(cap)}, in percent. {numbers}.",
                caption=f"AP by frequency group at {comparison.at(cap)}.{bars}",
            )
        )
    return made


def scatter_section(comparison: Comparison, folder: Path) -> Section:
    """AP of every class against its training images."""
    heading = ("images", "AP against training images")
    counted = [
        index
        for index in range(len(comparison.experiments))
        if len(plots.class_points(comparison, index)[0])
    ]
    if not counted:
        return _without(heading, "the results do not say how many training images a class has.")
    paint = partial(plots.average_precision_by_images, comparison=comparison)
    name = "ap_by_training_images"
    figure = Figure(
        name,
        draw(folder, name, _height(comparison, 3.6), paint),
        alt="Points: AP of every class in percent against its number of training images on a "
        "logarithmic axis, with a smoothed line per run. Smoothed AP "
        + "; ".join(_ends(comparison, index) for index in counted)
        + ".",
        caption="One point is one class (mean over seeds); lines are Gaussian-weighted means with "
        "a bandwidth of 0.2 decades. Classes without ground truth are left out.",
    )
    return Section(*heading, (figure,))


def _ends(comparison: Comparison, index: int) -> str:
    images, values = curves.smoothed_by_images(*plots.class_points(comparison, index))
    label = comparison.experiments[index].label
    return (
        f"of {label}: {values[0]:.1f} at {images[0]:.3g} images, "
        f"{values[-1]:.1f} at {images[-1]:.3g} images"
    )


def ratio_section(comparison: Comparison, folder: Path) -> Section:
    """Gradient ratio by class rank at the end, and by group over training.

    Of many experiments the `drawn` ones have lines; a loss that did nothing is told of all.
    """
    drawn = comparison.drawn()
    heading = ("ratio", "Gradient ratio")
    missing = [e.label for e in comparison.experiments if not any(run.snapshots for run in e.runs)]
    if not any(run.snapshots for experiment in drawn.experiments for run in experiment.runs):
        return _without(heading, "the runs stored no gradient statistics.")
    blocks: list[Block] = [
        Paragraph(
            "The ratio of the gradient a class received as a positive to that as a negative, "
            "accumulated over training: 1 is balance; near 0 the class was mostly pushed down. It "
            "is recorded for every loss, and used only by those that equalize. Under "
            "`statistics.common_negative` it is the ratio as corrected by that option."
        )
    ]
    if missing:
        blocks.append(Paragraph(f"Without gradient statistics: {', '.join(missing)}."))
    blocks += [
        Paragraph(_INACTIVE.format(label=e.label), is_warning=True)
        for e in comparison.experiments
        if _is_inactive(e)
    ]
    by_rank = Figure(
        "ratio_by_rank",
        draw(
            folder,
            "ratio_by_rank",
            _height(drawn, 3.4),
            partial(plots.ratio_by_rank, comparison=drawn),
        ),
        alt="Gradient ratio of every class at the end of training against its rank by "
        f"training images. Mean over the rare classes: {_rare_ratios(drawn)}.",
        caption="At the end of training, mean over seeds; lines are smoothed over ranks.",
    )
    return Section(*heading, (*blocks, by_rank, _ratio_by_step(drawn, folder)))


def _ratio_by_step(comparison: Comparison, folder: Path) -> Block:
    steps = {s.step for e in comparison.experiments for run in e.runs for s in run.snapshots}
    if len(steps) == 1:
        return Paragraph("The ratio over training is not drawn: it was recorded once, at the end.")
    paint = partial(plots.ratio_by_step, comparison=comparison)
    return Figure(
        "ratio_by_step",
        draw(folder, "ratio_by_step", _height(comparison, 5.2), paint),
        alt="Mean gradient ratio of rare, common and frequent classes over training steps, a line "
        "per run.",
        caption="Ratio clamped to [0, 1], mean over the classes of a group; one line per run.",
    )


def _rare_ratios(comparison: Comparison) -> str:
    ratios = {e.label: _rare_ratio(e) for e in comparison.experiments}
    return ", ".join(f"{k} {'n/a' if v is None else f'{v:.2f}'}" for k, v in ratios.items())


def _rare_ratio(experiment: Experiment) -> float | None:
    """Mean ratio of the rare classes at the end of training, over runs and modules."""
    last = [
        float(found[RARE][1][-1])
        for run in experiment.runs
        for module in curves.modules(run)
        if RARE in (found := curves.group_ratios(run, module))
    ]
    return float(np.mean(last)) if last else None


def _is_inactive(experiment: Experiment) -> bool:
    """Whether a loss that equalizes by the ratio had nothing to equalize."""
    ratio = _rare_ratio(experiment)
    return uses_ratio(experiment) and ratio is not None and ratio > INACTIVE_RATIO


def training_section(comparison: Comparison, folder: Path) -> Section:
    """Losses by name, and AP by evaluation, over training steps."""
    heading = ("training", "Training")
    runs = [run for experiment in comparison.experiments for run in experiment.runs]
    names = curves.loss_names(runs)
    blocks: list[Block] = []
    if names:
        paint = partial(plots.losses_by_step, comparison=comparison, names=names)
        height = _height(comparison, 0.7 + 1.45 * len(names))
        blocks.append(
            Figure(
                "losses",
                draw(folder, "losses", height, paint),
                alt=f"Training losses over steps, one panel each: {', '.join(names)}.",
                caption="Weighted losses as logged (faint) and smoothed over 2 % of training. "
                "Different losses have different scales: compare shapes, not heights.",
            )
        )
    else:
        blocks.append(Paragraph("There are no training curves: the runs have no metrics.jsonl."))
    if any(len(run.evaluation_lines) > 1 for run in runs):
        paint = partial(plots.average_precision_by_step, comparison=comparison)
        blocks.append(
            Figure(
                "ap_by_step",
                draw(folder, "ap_by_step", _height(comparison, 6.4), paint),
                alt="AP over all classes and by frequency group at every evaluation, over steps.",
                caption="AP at every evaluation during training, one line per run.",
            )
        )
    elif names:
        text = "AP over training is not drawn: the runs were evaluated once, at the end."
        blocks.append(Paragraph(text))
    return Section(*heading, tuple(blocks))


def _without(heading: tuple[str, str], reason: str) -> Section:
    return Section(*heading, (Paragraph(f"There is no figure: {reason}"),))


def _height(comparison: Comparison, axes: float) -> float:
    """Inches of a figure whose axes take `axes`: the legend comes below them."""
    labels = [experiment.label for experiment in comparison.experiments]
    return axes + 0.22 * legend_rows(labels) + 0.1
