"""The tables of the document as LaTeX, for a paper: one file each, with the rules of booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dense_lt.report.document import Cell, Document, Table

LONGEST = 60
"""Rows of a table that fits on a page; longer ones break over pages (package longtable)."""

_ESCAPES = {
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"},
    **{
        "±": r"$\pm$",
        "≈": r"$\approx$",
        "→": r"$\rightarrow$",
        "\N{MULTIPLICATION SIGN}": r"$\times$",
    },
    **{"\N{MINUS SIGN}": "$-$", "‰": r"\textperthousand{}", "\u200b": ""},
}


def latex_tables(document: Document) -> dict[str, str]:
    """File name without folder -> text, for every table of the document.

    Needs the packages booktabs, and longtable where a table is longer than a page; letters beyond
    Latin need XeLaTeX or LuaLaTeX.
    """
    files: dict[str, str] = {}
    for name, table in _tables(document):
        number = 1 + sum(re.fullmatch(rf"{name}(_\d+)?\.tex", other) is not None for other in files)
        files[f"{name}{'' if number == 1 else f'_{number}'}.tex"] = latex_table(table)
    return files


def _tables(document: Document) -> Iterator[tuple[str, Table]]:
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Table):
                yield re.sub(r"\W+", "_", block.label or section.anchor).strip("_").lower(), block


def latex_table(table: Table) -> str:
    """A tabular, or a longtable, without caption: the text around it gives one."""
    columns = "l" * table.text_columns + "r" * (len(table.header) - table.text_columns)
    head = _row([escape_latex(text) for text in table.header])
    rows = "\n".join(_row([_cell(cell) for cell in row]) for row in table.rows)
    if len(table.rows) > LONGEST:
        return (
            f"% needs \\usepackage{{booktabs,longtable}}\n\\begin{{longtable}}{{{columns}}}\n"
            f"\\toprule\n{head}\n\\midrule\n\\endhead\n{rows}\n\\bottomrule\n\\end{{longtable}}\n"
        )
    return (
        f"% needs \\usepackage{{booktabs}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{head}\n"
        f"\\midrule\n{rows}\n\\bottomrule\n\\end{{tabular}}\n"
    )


def escape_latex(text: str) -> str:
    """`text` so that LaTeX prints it as it is, on one line."""
    return "".join(_ESCAPES.get(character, character) for character in " ".join(text.split()))


def _row(cells: list[str]) -> str:
    # An empty group first: a row that begins with "[" or "*" would be read as an argument of \\.
    return f"{{}}{' & '.join(cells)} \\\\"


def _cell(cell: Cell) -> str:
    text = escape_latex(" ".join(part for part in (cell.text, cell.detail) if part))
    if not cell.delta:
        return text
    delta = escape_latex(cell.delta)
    return (
        f"{text} (\\textbf{{{delta}}})" if cell.mark in ("better", "worse") else f"{text} ({delta})"
    )
