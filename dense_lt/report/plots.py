"""The figures; each function draws one of them on an empty matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from dense_lt.data.categories import COMMON, FREQUENT, GROUPS, RARE
from dense_lt.report import curves
from dense_lt.report.comparison import BY_GROUP, Comparison
from dense_lt.report.style import INK, plain, series_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RASTER_ABOVE = 1500
"""With more points than this, they are stored as pixels: the page stays small."""

_LINE_CHARACTERS = 60


def legend_rows(labels: Sequence[str]) -> int:
    """Lines the legend takes below a figure."""
    return -(-len(labels) // _legend_columns(labels))


def _legend_columns(labels: Sequence[str]) -> int:
    longest = max(len(plain(label)) for label in labels)
    return max(1, min(len(labels), _LINE_CHARACTERS // (longest + 6)))


def _legend(figure: Figure, comparison: Comparison, *, with_marker: bool) -> None:
    from matplotlib.lines import Line2D

    labels = [experiment.label for experiment in comparison.experiments]
    handles = [
        Line2D([], [], color=s.colour, linestyle=s.dash, marker=s.marker if with_marker else "")
        for s in map(series_style, range(len(labels)))
    ]
    figure.legend(
        handles,
        [plain(label) for label in labels],
        loc="outside lower center",
        ncols=_legend_columns(labels),
        handlelength=2.2,
    )


def average_precision_by_group(figure: Figure, comparison: Comparison, cap: int) -> None:
    """AP over all classes and by group, with intervals where there are several runs."""
    axes = figure.subplots()
    metrics = {"all": "AP", **BY_GROUP}
    count = len(comparison.experiments)
    for index, experiment in enumerate(comparison.experiments):
        estimates = [experiment.estimate(metric, cap) for metric in metrics.values()]
        look = series_style(index)
        offset = (index - (count - 1) / 2) * min(0.16, 0.7 / count)
        known = [(place, e) for place, e in enumerate(estimates) if e.mean is not None]
        axes.errorbar(
            [place + offset for place, _ in known],
            [100 * (e.mean or 0) for _, e in known],
            yerr=[100 * (e.half_width or 0) for _, e in known],
            color=look.colour,
            marker=look.marker,
            linestyle="",
            capsize=3,
        )
    axes.set_xticks(range(len(metrics)), list(metrics))
    axes.set_xlim(-0.5, len(metrics) - 0.5)
    axes.set_ylim(bottom=0)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("classes, by number of training images")
    axes.set_ylabel("AP (%)")
    _legend(figure, comparison, with_marker=True)


def average_precision_by_images(figure: Figure, comparison: Comparison) -> None:
    """AP of every class against its training images, with a smoothed line."""
    axes = figure.subplots()
    number = sum(len(data.classes) * len(comparison.experiments) for data in comparison.data_sets)
    for index in range(len(comparison.experiments)):
        images, values = class_points(comparison, index)
        look = series_style(index)
        axes.scatter(
            images,
            values,
            s=18,
            alpha=0.55,
            linewidths=0,
            color=look.colour,
            marker=look.marker,
            rasterized=number > _RASTER_ABOVE,
        )
        if len(images):
            line = curves.smoothed_by_images(images, values)
            axes.plot(*line, color=look.colour, linestyle=look.dash)
    axes.set_xscale("log")
    _plain_ticks(axes)
    axes.set_ylim(0, None)
    axes.set_xlabel("training images of the class")
    axes.set_ylabel("AP of the class (%)")
    _mark_groups(axes, comparison, by_rank=False)
    _legend(figure, comparison, with_marker=True)


def class_points(comparison: Comparison, experiment: int) -> curves.Curve:
    """Training images and AP (percent) of the classes of one experiment that have ground truth.

    Classes without training images stand at half an image, since a logarithm has no zero.
    """
    points = [
        (max(entry.train_images, 0.5), 100 * ap)
        for data in comparison.data_sets
        for entry, ap in zip(data.classes, data.average_precision(experiment), strict=True)
        if ap is not None and entry.train_images is not None
    ]
    table = np.array(points, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def ratio_by_rank(figure: Figure, comparison: Comparison) -> None:
    """Gradient ratio of every class at the end of training, from most to fewest training images."""
    axes = figure.subplots()
    for index, experiment in enumerate(comparison.experiments):
        look = series_style(index)
        for ratios in curves.last_ratios(experiment.runs).values():
            axes.scatter(
                np.arange(1, len(ratios) + 1),
                ratios,
                s=18,
                alpha=0.55,
                linewidths=0,
                color=look.colour,
                marker=look.marker,
                rasterized=len(ratios) * len(comparison.experiments) > _RASTER_ABOVE,
            )
            line = curves.smoothed_by_rank(ratios)
            axes.plot(*line, color=look.colour, linestyle=look.dash)
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("class rank, most training images first")
    axes.set_ylabel("gradient ratio, clamped to [0, 1]")
    _mark_groups(axes, comparison, by_rank=True)
    _legend(figure, comparison, with_marker=True)


def ratio_by_step(figure: Figure, comparison: Comparison) -> None:
    """Mean gradient ratio of each group over training, one panel a group."""
    panels = _panels(figure, list(GROUPS))
    for index, experiment in enumerate(comparison.experiments):
        look = series_style(index)
        for run in experiment.runs:
            for module in curves.modules(run):
                for group, curve in curves.group_ratios(run, module).items():
                    panels[group].plot(
                        *curve,
                        color=look.colour,
                        linestyle=look.dash,
                        marker=look.marker,
                        markersize=3.5,
                        alpha=1 if len(experiment.runs) == 1 else 0.6,
                    )
    for group, axes in panels.items():
        axes.set_ylim(0, 1.05)
        axes.set_title(f"{group} classes", loc="left", fontsize=10)
        axes.set_ylabel("mean ratio")
    _legend(figure, comparison, with_marker=True)


def losses_by_step(figure: Figure, comparison: Comparison, names: Sequence[str]) -> None:
    """Every loss over training: as logged (faint) and smoothed."""
    panels = _panels(figure, names)
    highest = dict.fromkeys(names, 0.0)
    for index, experiment in enumerate(comparison.experiments):
        look = series_style(index)
        for run in experiment.runs:
            for name in names:
                steps, values = curves.training_curve(run, name)
                if not len(steps):
                    continue
                smoothed = curves.smooth(steps, values, steps, max(np.ptp(steps) / 50, 1e-9))
                panels[name].plot(steps, values, color=look.colour, alpha=0.2, linewidth=0.8)
                panels[name].plot(steps, smoothed, color=look.colour, linestyle=look.dash)
                highest[name] = max(highest[name], float(smoothed.max()))
    for name, axes in panels.items():
        axes.set_ylim(0, 1.05 * highest[name] or 1)
        title = "total" if name == "loss" else name.removeprefix("loss/")
        axes.set_title(plain(title), loc="left", fontsize=10)
        axes.set_ylabel("loss")
    _legend(figure, comparison, with_marker=False)


def average_precision_by_step(figure: Figure, comparison: Comparison) -> None:
    """AP over all classes and by group at every evaluation during training."""
    metrics = {"all classes": "AP", **{f"{g} classes": m for g, m in BY_GROUP.items()}}
    panels = _panels(figure, list(metrics))
    for index, experiment in enumerate(comparison.experiments):
        look = series_style(index)
        for run in experiment.runs:
            for title, metric in metrics.items():
                steps, values = curves.evaluation_curve(run, metric)
                panels[title].plot(
                    steps,
                    100 * values,
                    color=look.colour,
                    linestyle=look.dash,
                    marker=look.marker,
                    markersize=3.5,
                    alpha=1 if len(experiment.runs) == 1 else 0.6,
                )
    for title, axes in panels.items():
        axes.set_ylim(bottom=0)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_ylabel("AP (%)")
    _legend(figure, comparison, with_marker=True)


def _panels(figure: Figure, titles: Sequence[str]) -> Mapping[str, Axes]:
    """One panel below the other, with one common axis of training steps."""
    grid = figure.subplots(len(titles), 1, sharex=True, squeeze=False)
    grid[-1, 0].set_xlabel("training step")
    return dict(zip(titles, grid[:, 0], strict=True))


def _plain_ticks(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    def label(value: float, _: object) -> str:
        return f"{value:,.0f}" if value >= 1 else "0" if value == 0.5 else ""

    lowest, _ = axes.get_xlim()
    axes.xaxis.set_major_formatter(FuncFormatter(label))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if lowest < 0.5:  # there are classes without training images
        axes.set_xticks([0.5, *(tick for tick in axes.get_xticks() if tick >= 1)])


def _mark_groups(axes: Axes, comparison: Comparison, *, by_rank: bool) -> None:
    """Dotted lines between the frequency groups, and their names above."""
    classes = comparison.data_sets[0].classes
    images = {group: [c.train_images or 0 for c in classes if c.group == group] for group in GROUPS}
    present = [group for group in (FREQUENT, COMMON, RARE) if images[group]]
    lowest, highest = axes.get_xlim()
    edges: list[float] = []
    for above, below in pairwise(present):
        if min(images[above]) < max(images[below]):
            return  # the file's own groups do not follow these counts
        if by_rank:
            edges.append(sum(len(images[g]) for g in present[: present.index(below)]) + 0.5)
        else:
            edges.append(float(np.sqrt(min(images[above]) * max(max(images[below]), 0.5))))
    ends = [lowest, *edges, highest] if by_rank else [highest, *edges, lowest]
    for group, (start, end) in zip(present, pairwise(ends), strict=True):
        middle = (start + end) / 2 if by_rank else float(np.sqrt(start * end))
        axes.annotate(
            group,
            (middle, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
    for edge in edges:
        axes.axvline(edge, color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlim(lowest, highest)
