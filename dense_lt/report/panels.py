"""What several figures have in common: legends, panels, and the marks of frequency groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from dense_lt.data.categories import COMMON, FREQUENT, GROUPS, RARE
from dense_lt.report.comparison import Comparison
from dense_lt.report.style import INK, plain, series_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE_CHARACTERS = 60


def legend_rows(labels: Sequence[str]) -> int:
    """Lines the legend takes below a figure."""
    return -(-len(labels) // _legend_columns(labels))


def _legend_columns(labels: Sequence[str]) -> int:
    longest = max(len(plain(label)) for label in labels)
    return max(1, min(len(labels), _LINE_CHARACTERS // (longest + 6)))


def legend(
    figure: Figure,
    comparison: Comparison,
    *,
    with_marker: bool,
    shown: Sequence[int] | None = None,
) -> None:
    """A line per experiment, or for those at the places `shown`, below the figure."""
    from matplotlib.lines import Line2D

    places = range(len(comparison.experiments)) if shown is None else shown
    labels = [comparison.experiments[place].label for place in places]
    handles = [
        Line2D([], [], color=s.colour, linestyle=s.dash, marker=s.marker if with_marker else "")
        for s in map(series_style, places)
    ]
    figure.legend(
        handles,
        [plain(label) for label in labels],
        loc="outside lower center",
        ncols=_legend_columns(labels),
        handlelength=2.2,
    )


def panels_of(
    figure: Figure, titles: Sequence[str], xlabel: str = "training step"
) -> Mapping[str, Axes]:
    """One panel below the other, with one common axis."""
    grid = figure.subplots(len(titles), 1, sharex=True, squeeze=False)
    grid[-1, 0].set_xlabel(xlabel)
    return dict(zip(titles, grid[:, 0], strict=True))


def mark_groups(axes: Axes, comparison: Comparison, *, by_rank: bool) -> None:
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


def plain_decimals(axes: Axes) -> None:
    """Numbers such as 0.2 at a logarithmic axis of values, instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogFormatter

    chosen = LogFormatter(minor_thresholds=(2, 0.5))  # of the marks between, those that have room
    chosen.set_axis(axes.yaxis)

    def number(value: float, place: int | None = None) -> str:
        return f"{value:g}" if chosen(value, place) else ""

    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(number))
    lowest, highest = axes.get_ylim()
    chosen.set_locs(axes.yaxis.get_minor_locator().tick_values(lowest, highest))
