"""The figures; each function draws one of them on an empty matplotlib figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.categories import GROUPS
from dense_lt.report import curves
from dense_lt.report.comparison import BY_GROUP, Comparison, Experiment
from dense_lt.report.panels import legend, mark_groups, panels_of
from dense_lt.report.style import Hover, SeriesStyle, plain, series_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RASTER_ABOVE = 1500
"""With more points than this, they are stored as pixels: the page stays small."""


def average_precision_by_group(figure: Figure, comparison: Comparison, cap: int) -> None:
    """AP over all classes and by group, with intervals where there are several runs.

    Groups stand side by side, with a colour for each experiment; many experiments have a line each,
    with a colour for each group.
    """
    axes = figure.subplots()
    groups = {"all": "AP", **BY_GROUP}
    values = np.array([_estimates(e, groups.values(), cap) for e in comparison.experiments])
    if comparison.has_many:
        _line_each(figure, axes, comparison, tuple(groups), values)
        return
    count = len(values)
    for index, own in enumerate(values):
        offset = (index - (count - 1) / 2) * min(0.16, 0.7 / count)
        look = series_style(index)
        axes.errorbar(np.arange(len(groups)) + offset, own[:, 0], yerr=own[:, 1], **_dots(look))
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.set_ylim(bottom=0)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("classes, by number of training images")
    axes.set_ylabel("AP (%)")
    legend(figure, comparison, with_marker=True)


def _line_each(
    figure: Figure, axes: Axes, comparison: Comparison, groups: Sequence[str], values: NDArray[Any]
) -> None:
    """`values` (experiments, groups, 2): AP and its interval's half width, percent."""
    places = np.arange(len(values))
    for index, group in enumerate(groups):
        ap, half_width = values[:, index].T
        axes.errorbar(ap, places, xerr=half_width, label=group, **_dots(series_style(index)))
    axes.set_yticks(places, [plain(experiment.label) for experiment in comparison.experiments])
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("AP (%) of classes")
    figure.legend(loc="outside lower center", ncols=len(groups))


def _estimates(experiment: Experiment, metrics: Iterable[str], cap: int) -> list[list[float]]:
    """(AP, half width of its interval) in percent; not a number where it is undefined."""
    found = [experiment.estimate(metric, cap) for metric in metrics]
    nothing = float("nan")
    return [[nothing if e.mean is None else 100 * e.mean, 100 * (e.half_width or 0)] for e in found]


def _dots(look: SeriesStyle) -> dict[str, Any]:
    return {"color": look.colour, "marker": look.marker, "linestyle": "", "capsize": 3}


def average_precision_by_images(figure: Figure, comparison: Comparison) -> Hover:
    """AP of every class against its training images, with a smoothed line."""
    axes = figure.subplots()
    hover: dict[str, list[str]] = {}
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
            gid=f"classes{index}",
        )
        hover[f"classes{index}"] = _class_texts(comparison, index)
        if len(images):
            line = curves.smoothed_by_images(images, values)
            axes.plot(*line, color=look.colour, linestyle=look.dash)
    axes.set_xscale("log")
    _plain_ticks(axes)
    axes.set_ylim(0, None)
    axes.set_xlabel("training images of the class")
    axes.set_ylabel("AP of the class (%)")
    mark_groups(axes, comparison, by_rank=False)
    legend(figure, comparison, with_marker=True)
    return hover


def _class_texts(comparison: Comparison, experiment: int) -> list[str]:
    """What a point of `class_points` says under the mouse."""
    label = comparison.experiments[experiment].label
    return [
        f"{entry.name}: AP {100 * ap:.1f} % with {entry.train_images} training images ({label})"
        for data in comparison.data_sets
        for entry, ap in zip(data.classes, data.average_precision(experiment), strict=True)
        if ap is not None and entry.train_images is not None
    ]


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


def ratio_by_rank(figure: Figure, comparison: Comparison) -> Hover:
    """Gradient ratio of every class at the end of training, from most to fewest training images."""
    axes = figure.subplots()
    hover: dict[str, list[str]] = {}
    for index, experiment in enumerate(comparison.experiments):
        look = series_style(index)
        for module, ratios in curves.last_ratios(experiment.runs).items():
            gid = f"ratio{index}-{module}"
            axes.scatter(
                np.arange(1, len(ratios) + 1),
                ratios,
                s=18,
                alpha=0.55,
                linewidths=0,
                color=look.colour,
                marker=look.marker,
                rasterized=len(ratios) * len(comparison.experiments) > _RASTER_ABOVE,
                gid=gid,
            )
            hover[gid] = texts_by_rank(experiment, ratios, "ratio")
            line = curves.smoothed_by_rank(ratios)
            axes.plot(*line, color=look.colour, linestyle=look.dash)
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("class rank, most training images first")
    axes.set_ylabel("gradient ratio, clamped to [0, 1]")
    mark_groups(axes, comparison, by_rank=True)
    legend(figure, comparison, with_marker=True)
    return hover


def texts_by_rank(experiment: Experiment, values: curves.Array, what: str) -> list[str]:
    """What the points of `values` (C,) by rank say under the mouse."""
    run = experiment.runs[0]
    names = [run.classes[label].name for label in curves.by_rank(run)]
    rows = enumerate(zip(names, values, strict=True), start=1)
    return [f"{n}. {name}: {what} {v:.3g} ({experiment.label})" for n, (name, v) in rows]


def ratio_by_step(figure: Figure, comparison: Comparison) -> None:
    """Mean gradient ratio of each group over training, one panel a group."""
    panels = panels_of(figure, list(GROUPS))
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
    legend(figure, comparison, with_marker=True)


def losses_by_step(figure: Figure, comparison: Comparison, names: Sequence[str]) -> None:
    """Every loss over training: as logged (faint) and smoothed."""
    panels = panels_of(figure, names)
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
    legend(figure, comparison, with_marker=False)


def average_precision_by_step(figure: Figure, comparison: Comparison) -> None:
    """AP over all classes and by group at every evaluation during training."""
    metrics = {"all classes": "AP", **{f"{g} classes": m for g, m in BY_GROUP.items()}}
    panels = panels_of(figure, list(metrics))
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
    legend(figure, comparison, with_marker=True)


def _plain_ticks(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    def label(value: float, _: object) -> str:
        return f"{value:,.0f}" if value >= 1 else "0" if value == 0.5 else ""

    lowest, _ = axes.get_xlim()
    axes.xaxis.set_major_formatter(FuncFormatter(label))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if lowest < 0.5:  # there are classes without training images
        axes.set_xticks([0.5, *(tick for tick in axes.get_xticks() if tick >= 1)])
