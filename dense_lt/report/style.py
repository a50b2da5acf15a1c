"""How figures look: colours, sizes, and how a drawing becomes PNG and SVG files and part of a page.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart; marker and
dash differ as well. In the page's SVG they are CSS variables, so that dark mode can lighten them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 5.2
"""Inches: a phone shrinks it to two thirds, at which 10 point are still readable."""

INK, RULE = "#1f2328", "#d5d9de"
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7"),
    *("#B8860B", "#56B4E9", "#6E6E6E", "#8C510A"),
)
_MARKERS = "osD^vPX*"
_DASHES: Final = ("-", "--", "-.", ":")

_SETTINGS: dict[str, object] = {
    "font.size": 10,
    "font.sans-serif": ["DejaVu Sans"],
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's own font
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
}


class SeriesStyle(NamedTuple):
    """Look of one experiment, the same in every figure."""

    colour: str
    marker: str
    dash: Literal["-", "--", "-.", ":"]


def series_style(index: int) -> SeriesStyle:
    """Look of experiment or part `index`; from the ninth on, colours repeat with another dash."""
    place = index % len(_COLOURS)
    return SeriesStyle(_COLOURS[place], _MARKERS[place], _DASHES[index // len(_COLOURS) % 4])


Hover = Mapping[str, Sequence[str]]
"""Id of an artist (`set_gid`) -> what its marks show under the mouse, in the order of drawing."""


def draw(folder: Path, name: str, height: float, paint: Callable[[Figure], Hover | None]) -> str:
    """Let `paint` fill a figure, write `folder/name.png` and `.svg`, return SVG for the page.

    Args:
        folder: Where the PNG goes; must exist.
        name: Of the file, and prefix of every id in the SVG.
        height: Inches.
        paint: Draws on the empty figure it is given; may return texts to hover.

    Returns:
        An `<svg>` element without outside references, whose text colour is the page's.
    """
    from matplotlib import style  # late: training must not need matplotlib
    from matplotlib.figure import Figure

    with style.context(_SETTINGS | {"svg.hashsalt": name}, after_reset=True):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        hover = paint(figure) or {}
        figure.savefig(folder / f"{name}.png", dpi=160, facecolor="white")
        text = io.StringIO()
        figure.savefig(text, format="svg", dpi=160, transparent=True, metadata={"Date": None})
    svg = _with_titles(text.getvalue(), hover)
    (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    return _for_page(svg, name)


def plain(text: str, longest: int = 48) -> str:
    """`text` so that matplotlib finds no formula in it and hides nothing; long ones are cut."""
    text = " ".join(text.split())
    if len(text) > longest:
        half = (longest - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    text = text.replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text


def _with_titles(svg: str, hover: Hover) -> str:
    """A `<title>` in every mark of the named artists; none where they were drawn as pixels."""
    for gid, texts in hover.items():
        start = svg.find(f'<g id="{gid}">')
        end = svg.find("<g id=", start + 1)
        if start < 0:
            continue
        marks = svg[start:end].split("<use ")
        if len(texts) == 1 and len(marks) == 1:  # a bar: one shape
            tag = f'<g id="{gid}">'
            svg = svg.replace(tag, f"{tag}<title>{escape(texts[0])}</title>", 1)
            continue
        if len(marks) != len(texts) + 1:
            continue
        titled = [
            re.sub(r"/>", lambda _, t=text: f"><title>{escape(t)}</title></use>", mark, count=1)
            for mark, text in zip(marks[1:], texts, strict=True)
        ]
        svg = svg[:start] + "<use ".join([marks[0], *titled]) + svg[end:]
    return svg


def _for_page(svg: str, name: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    # Ids must be unique in the page, which holds many drawings.
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = svg.replace(INK, "currentColor").replace(RULE, "var(--rule)")
    for index, colour in enumerate(_COLOURS):
        svg = svg.replace(colour.lower(), f"var(--series-{index})")
    return svg
