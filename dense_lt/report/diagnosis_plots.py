"""The figures of the diagnosis; each function draws one of them on an empty matplotlib figure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from dense_lt.report import curves, diagnosis
from dense_lt.report.comparison import Comparison
from dense_lt.report.mapping import QUANTITIES, Mapped, told_apart
from dense_lt.report.panels import legend, mark_groups, panels_of, plain_decimals
from dense_lt.report.plots import texts_by_rank
from dense_lt.report.style import INK, Hover, SeriesStyle, plain, series_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KIND_COLOURS = {
    **{"true": 2, "localisation": 5, "duplicate": 6, "both": 4, "background": 7},
    **{"confusion_rare": 3, "confusion_common": 0, "confusion_frequent": 1},
}
"""Kind of a detection -> which of the colours of experiments it has."""


def error_kinds(figure: Figure, comparison: Comparison) -> Hover:
    """What the best detections of each group's classes are, as stacked bars."""
    groups = diagnosis.groups_present(comparison)
    panels = panels_of(figure, groups, "share of the best detections (%)")
    labels = [experiment.label for experiment in comparison.experiments]
    hover: dict[str, list[str]] = {}
    for group, axes in panels.items():
        for row, experiment in enumerate(comparison.experiments):
            left = 0.0
            for kind, share in diagnosis.kind_shares(experiment, group).items():
                width = 100 * (share or 0)
                (bar,) = axes.barh(
                    row, width, 0.7, left, color=series_style(_KIND_COLOURS[kind]).colour
                )
                bar.set_gid(f"bar-{group}-{row}-{kind}")
                text = f"{labels[row]}, {group} classes: {diagnosis.KINDS[kind]} {width:.1f} %"
                hover[f"bar-{group}-{row}-{kind}"] = [text]
                left += width
        axes.set_title(f"{group} classes", loc="left", fontsize=10)
        axes.set_yticks(range(len(labels)), [plain(label, 24) for label in labels])
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.grid(visible=False, axis="y")
    from matplotlib.patches import Patch

    handles = [Patch(color=series_style(place).colour) for place in _KIND_COLOURS.values()]
    words = [diagnosis.KINDS[kind] for kind in _KIND_COLOURS]
    figure.legend(handles, words, loc="outside lower center", ncols=2)
    return hover


def stages(figure: Figure, comparison: Comparison) -> None:
    """The share of objects that get a candidate, a box, one of their class, and their own name."""
    known_stages = diagnosis.stages_known(comparison)
    panels = panels_of(figure, diagnosis.groups_present(comparison), "an object is covered by")
    for group, axes in panels.items():
        for index, experiment in enumerate(comparison.experiments):
            look = series_style(index)
            shares = diagnosis.stage_shares(experiment, group)
            rows = [(place, shares[name]) for place, name in enumerate(known_stages)]
            known = [(place, 100 * own) for place, own in rows if own is not None]
            axes.plot(
                [place for place, _ in known],
                [own for _, own in known],
                **_line(look),
            )
        words = [diagnosis.STAGES[name] for name in known_stages]
        axes.set_xticks(range(len(words)), words)
        axes.set_xlim(-0.3, len(words) - 0.7)
        axes.set_ylim(0, 105)
        axes.set_ylabel("objects (%)")
        axes.set_title(f"{group} classes", loc="left", fontsize=10)
    legend(figure, comparison, with_marker=True)


def reliability(figure: Figure, comparison: Comparison) -> None:
    """Precision of the detections of each bin of scores."""
    panels = panels_of(figure, diagnosis.groups_present(comparison), "mean score of the bin")
    for group, axes in panels.items():
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        for index, experiment in enumerate(comparison.experiments):
            axes.plot(*diagnosis.reliability(experiment, group), **_line(series_style(index)))
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.03)
        axes.set_ylabel("precision")
        axes.set_title(f"{group} classes", loc="left", fontsize=10)
    legend(figure, comparison, with_marker=True)


def mean_scores(figure: Figure, comparison: Comparison) -> None:
    """Mean score of true positives (filled) and of the best false positives (hollow)."""
    axes = figure.subplots()
    groups = diagnosis.groups_present(comparison)
    count = len(comparison.experiments)
    for index, experiment in enumerate(comparison.experiments):
        look = series_style(index)
        offset = (index - (count - 1) / 2) * min(0.16, 0.7 / count)
        for place, group in enumerate(groups):
            right, wrong = diagnosis.mean_scores(experiment, group)
            if right is not None and wrong is not None:
                ends = [max(right, 1e-6), max(wrong, 1e-6)]
                axes.plot([place + offset] * 2, ends, color=look.colour, linewidth=1)
            for score, face in ((right, look.colour), (wrong, "none")):
                if score is not None:
                    axes.plot(
                        [place + offset],
                        [max(score, 1e-6)],
                        marker=look.marker,
                        color=look.colour,
                        markerfacecolor=face,
                    )
    axes.set_yscale("log")
    axes.set_ylim(top=1)
    plain_decimals(axes)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.set_xlabel("classes, by number of training images")
    axes.set_ylabel("mean score")
    legend(figure, comparison, with_marker=True)


def classifier_norms(figure: Figure, comparison: Comparison) -> Hover:
    """Length of every class's weights in the classifier, most training images first."""
    axes = figure.subplots()
    hover: dict[str, list[str]] = {}
    for index, experiment in enumerate(comparison.experiments):
        norms = diagnosis.relative_norms(experiment)
        if norms is None:
            continue
        look, ranks = series_style(index), np.arange(1, len(norms) + 1)
        axes.scatter(
            ranks,
            norms,
            s=18,
            alpha=0.55,
            linewidths=0,
            color=look.colour,
            marker=look.marker,
            gid=f"norms{index}",
        )
        axes.plot(*curves.smoothed_by_rank(norms), color=look.colour, linestyle=look.dash)
        hover[f"norms{index}"] = texts_by_rank(experiment, norms, "norm over mean norm")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("class rank, most training images first")
    axes.set_ylabel("weight norm / mean norm")
    mark_groups(axes, comparison, by_rank=True)
    legend(figure, comparison, with_marker=True)
    return hover


def norms_by_step(figure: Figure, comparison: Comparison) -> None:
    """Mean length of the classifier's weights of each group over training, a line per run."""
    groups = diagnosis.groups_present(comparison)
    grid = figure.subplots(1, len(groups), sharex=True, sharey=True, squeeze=False)
    for index, experiment in enumerate(comparison.experiments):
        look = series_style(index)
        for run in experiment.runs:
            found = curves.group_norms(run)
            for axes, group in zip(grid[0], groups, strict=True):
                if group in found:
                    axes.plot(*found[group], color=look.colour, linestyle=look.dash)
    for axes, group in zip(grid[0], groups, strict=True):
        axes.set_title(f"{group} classes", fontsize=10)
        axes.margins(y=0.1)
        axes.set_ylim(bottom=0)
        axes.locator_params(nbins=3)
    grid[0, 0].set_ylabel("weight norm /\nmean norm")
    grid[0, len(groups) // 2].set_xlabel("training step")
    legend(figure, comparison, with_marker=False)


def mapping(figure: Figure, comparison: Comparison, mapped: Sequence[Mapped | None]) -> None:
    """Exponent and weights of a class by its gradient ratio; marks where the groups ended up."""
    titles = {name: QUANTITIES[name] for name in told_apart([own for own in mapped if own])}
    panels = panels_of(figure, list(titles.values()), "gradient ratio")
    for index, own in enumerate(mapped):
        if own is None:
            continue
        look = series_style(index)
        for name, title in titles.items():
            axes = panels[title]
            axes.plot(own.ratio, own.values[name], color=look.colour, linestyle=look.dash)
            for group, ratio in own.group_ratio.items():
                value = float(np.interp(ratio, own.ratio, own.values[name]))
                axes.plot([ratio], [value], color=look.colour, marker=look.marker)
                axes.annotate(
                    group[0],
                    (ratio, value),
                    xytext=(0, 5),
                    textcoords="offset points",
                    ha="center",
                    fontsize=9,
                )
    for title, axes in panels.items():
        axes.margins(y=0.2)
        axes.set_xlim(-0.02, 1.02)
        axes.set_title(title, loc="left", fontsize=10)
    drawn = [place for place, own in enumerate(mapped) if own is not None]
    legend(figure, comparison, with_marker=True, shown=drawn)


def balance_by_step(figure: Figure, comparison: Comparison, quantities: Sequence[str]) -> None:
    """Exponent and weights over training: a row for each of `quantities`, a column a group."""
    groups = diagnosis.groups_present(comparison)
    grid = figure.subplots(len(quantities), len(groups), sharex=True, sharey="row", squeeze=False)
    places = list(product(enumerate(quantities), enumerate(groups)))
    for index, experiment in enumerate(comparison.experiments):
        look = series_style(index)
        for run, ((row, name), (column, group)) in product(experiment.runs, places):
            for curve in curves.balance_curves(run, name, group):
                grid[row, column].plot(*curve, color=look.colour, linestyle=look.dash)
    for axes, group in zip(grid[0], groups, strict=True):
        axes.set_title(f"{group} classes", fontsize=10)
    for axes, name in zip(grid[:, 0], quantities, strict=True):
        axes.set_ylabel(QUANTITIES[name].replace(" ", "\n", 1))
        axes.set_ylim(bottom=0)
        axes.margins(y=0.1)
    for axes in grid.flat:
        axes.locator_params(nbins=3)
    grid[-1, len(groups) // 2].set_xlabel("training step")
    legend(figure, comparison, with_marker=False)


def _line(look: SeriesStyle) -> dict[str, Any]:
    return {
        "color": look.colour,
        "marker": look.marker,
        "linestyle": look.dash,
        "markersize": 5,
    }
