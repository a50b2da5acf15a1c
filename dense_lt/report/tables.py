"""Numbers as text: percent with one decimal, aligned console tables, Markdown tables."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from dense_lt.report.comparison import BY_GROUP
from dense_lt.report.runs import Run

NOT_AVAILABLE = "n/a"


def percent(value: float | None) -> str:
    """A fraction as percent with one decimal; None is "n/a", never -1."""
    return NOT_AVAILABLE if value is None else f"{100 * value:.1f}"


def signed_percent(value: float | None) -> str:
    """A difference of fractions in percent points, with its sign; rounded to nothing is 0.0."""
    if value is None:
        return NOT_AVAILABLE
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def console_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1
) -> str:
    """Columns of equal width, the first `text_columns` flush left, the others flush right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    padded = [
        [
            _pad(text, width, left=column < text_columns)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1
) -> str:
    """A GitHub-flavoured table; the cells are Markdown already (see `escape_markdown`)."""
    rules = [":--" if column < text_columns else "--:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rules, *rows))


def escape_markdown(text: str) -> str:
    """`text` so that Markdown shows it as it is: no markup, no HTML, no table borders, one line."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for character in "\\`*_[]|#$~":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())


def summary_table(runs: Sequence[Run]) -> str:
    """One row per run: AP over all classes and by group, also under the other caps, in percent."""
    first = runs[0].cap
    others = sorted({cap for run in runs for cap in run.scored_caps} - {first}, reverse=True)
    columns = [("AP", first), ("AP50", first), *((name, first) for name in BY_GROUP.values())]
    columns += [(name, cap) for cap in others for name in BY_GROUP.values()]
    header = [name if cap == first else f"{name}@{cap}" for name, cap in columns]
    rows = [[run.name, *(percent(run.metric(*column)) for column in columns)] for run in runs]
    return console_table(["run", *header], rows)


def _width(text: str) -> int:
    """Columns a terminal needs: wide East Asian characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )


def _pad(text: str, width: int, *, left: bool) -> str:
    space = " " * (width - _width(text))
    return text + space if left else space + text
