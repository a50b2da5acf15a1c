"""From run folders to one folder with page, Markdown, figures and numbers."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from dense_lt.report import sections
from dense_lt.report.comparison import Comparison, compare
from dense_lt.report.cost import cost_section
from dense_lt.report.diagnosis_section import balance_section, diagnosis_section
from dense_lt.report.document import Document, Section
from dense_lt.report.figures import group_figures, ratio_section, scatter_section, training_section
from dense_lt.report.gallery import ExampleOptions, example_section
from dense_lt.report.latex import latex_tables
from dense_lt.report.markdown import render_markdown
from dense_lt.report.numbers import comparison_numbers
from dense_lt.report.page import render_page
from dense_lt.report.runs import Run

logger = logging.getLogger(__name__)

PAGE = "index.html"


def write_report(
    runs: Sequence[Run],
    out: Path,
    *,
    reference: Run | None = None,
    examples: ExampleOptions | None = None,
) -> Path:
    """Compare `runs` and write everything into `out`; files of the same names are replaced.

    Writes index.html (needs no network and none of the other files), report.md with
    figures/*.png, the same figures as SVG, every table as tables/*.tex, and comparison.json.

    Args:
        runs: finished runs; repetitions with other seeds are grouped.
        out: made if it is missing.
        reference: one of `runs`, to which differences are shown; by default the first.
        examples: what the example images show.

    Returns:
        The path of the page.
    """
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    comparison = compare(runs, reference)
    if comparison.unlike:
        logger.warning("%s", sections.why_unlike(comparison))
    document = make_document(comparison, figures, examples or ExampleOptions())
    numbers = json.dumps(comparison_numbers(comparison), indent=1, allow_nan=False)
    (out / "comparison.json").write_text(numbers + "\n", encoding="utf-8")
    (out / "report.md").write_text(render_markdown(document), encoding="utf-8")
    tables = out / "tables"
    tables.mkdir(exist_ok=True)
    for name, text in latex_tables(document).items():
        (tables / name).write_text(text, encoding="utf-8")
    page = out / PAGE
    page.write_text(render_page(document), encoding="utf-8")
    return page


def make_document(comparison: Comparison, figures: Path, examples: ExampleOptions) -> Document:
    """All sections in the order of the page; draws the figures into the folder `figures`."""
    drawn = comparison.drawn()
    parts: list[Section] = [
        sections.overview(comparison),
        sections.by_group(comparison, group_figures(comparison, figures)),
        scatter_section(drawn, figures),
        cost_section(comparison),
        ratio_section(comparison, figures),
        balance_section(drawn, figures),
        diagnosis_section(comparison, figures),
        training_section(drawn, figures),
    ]
    if examples.count:
        parts.append(example_section(comparison, figures, examples))
    parts += [sections.class_table(comparison), sections.settings(comparison)]
    kind = "Report" if len(comparison.experiments) == 1 else "Comparison"
    return Document(f"{kind}: {sections.title(comparison)}", tuple(parts))
