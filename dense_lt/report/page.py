"""The document as one HTML page that needs no network: style, script and pictures are inside."""

from __future__ import annotations

import base64
import re
from html import escape
from importlib.resources import files
from string import Template

from dense_lt.report.document import (
    Block,
    Bullets,
    Cell,
    Document,
    Example,
    Figure,
    Gallery,
    Panel,
    Paragraph,
    Section,
    Table,
)


def render_page(document: Document) -> str:
    """The whole page. Every text of the document is escaped; figures are our own SVG."""
    folder = files("dense_lt.report")
    named = [section for section in document.sections if section.title]
    links = "".join(f'<a href="#{s.anchor}">{escape(s.title)}</a>' for s in named)
    return Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(document.title),
        style=(folder / "page.css").read_text(encoding="utf-8"),
        script=(folder / "page.js").read_text(encoding="utf-8"),
        links=links,
        body="\n".join(_section(section) for section in document.sections),
    )


def _section(section: Section) -> str:
    heading = f"<h2>{escape(section.title)}</h2>" if section.title else ""
    parts: list[str] = []
    figures: list[str] = []
    for block in section.blocks:
        if isinstance(block, Figure):
            figures.append(_figure(block))
            continue
        parts.extend(_grid(figures))
        figures = []
        parts.append(_block(block))
    parts.extend(_grid(figures))
    return f'<section id="{escape(section.anchor)}">{heading}{"".join(parts)}</section>'


def _grid(figures: list[str]) -> list[str]:
    """Figures that follow each other stand side by side where there is room."""
    return [f'<div class="figures">{"".join(figures)}</div>'] if figures else []


def _block(block: Block) -> str:
    match block:
        case Paragraph(text, is_warning):
            return _warning(escape(text)) if is_warning else f"<p>{escape(text)}</p>"
        case Bullets(texts, is_warning):
            items = "".join(f"<li>{escape(text)}</li>" for text in texts)
            return _warning(f"<ul>{items}</ul>") if is_warning else f"<ul>{items}</ul>"
        case Table():
            return _table(block)
        case Figure():
            return _figure(block)
        case Gallery():
            examples = "".join(_example(example) for example in block.examples)
            return f'<p class="rule">{escape(block.rule)}</p>{examples}'


def _warning(inner: str) -> str:
    return f'<div class="warning" role="note"><strong>Warning.</strong> {inner}</div>'


def _table(table: Table) -> str:
    heads = "".join(
        _head(text, is_number=column >= table.text_columns, is_sortable=table.is_sortable)
        for column, text in enumerate(table.header)
    )
    rows = "".join(_row(row, table.text_columns) for row in table.rows)
    search = ""
    if table.is_sortable:
        search = (
            f'<p class="tools"><label>Search <input type="search" placeholder="name or group">'
            f'</label> <span class="count" aria-live="polite">{len(table.rows)} rows</span></p>'
        )
    kind = "sortable" if table.is_sortable else ""
    return (
        f'<div class="table {kind}">{search}<div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(table.label)}"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></div>"
    )


def _head(text: str, *, is_number: bool, is_sortable: bool) -> str:
    inner = (
        f'<button type="button">{_breakable(text)}</button>' if is_sortable else _breakable(text)
    )
    sort = ' aria-sort="none"' if is_sortable else ""
    return f'<th scope="col" class="{"number" if is_number else "name"}"{sort}>{inner}</th>'


def _row(row: tuple[Cell, ...], text_columns: int) -> str:
    first = f'<th scope="row" class="name">{_cell(row[0])}</th>'
    kinds = ["name"] * (text_columns - 1) + ["number"] * (len(row) - text_columns)
    others = [
        f'<td class="{kind} {cell.mark}"{_order(cell)}>{_cell(cell)}</td>'
        for kind, cell in zip(kinds, row[1:], strict=True)
    ]
    return f"<tr>{first}{''.join(others)}</tr>"


def _breakable(text: str) -> str:
    """Escaped, with places in long names at which a narrow column may break them."""
    return re.sub(r"(_|[./](?=[^\W\d]{2}))", r"\1<wbr>", escape(text))


def _order(cell: Cell) -> str:
    return "" if cell.order is None else f' data-order="{cell.order:.6g}"'


def _cell(cell: Cell) -> str:
    detail = f" <small>{escape(cell.detail)}</small>" if cell.detail else ""
    delta = f' <span class="delta">{escape(cell.delta)}</span>' if cell.delta else ""
    return f"{_breakable(cell.text)}{detail}{delta}"


def _figure(figure: Figure) -> str:
    return (
        f'<figure><div class="drawing" role="img" aria-label="{escape(figure.alt)}">{figure.svg}'
        f"</div><figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def _example(example: Example) -> str:
    panels = "".join(_panel(panel) for panel in example.panels)
    return (
        f'<article class="example"><h3>{_breakable(example.title)}</h3>'
        f'<div class="panels">{panels}</div></article>'
    )


def _panel(panel: Panel) -> str:
    source = base64.b64encode(panel.jpeg).decode("ascii")
    height, width = panel.size
    lines = "".join(f"<li>{_breakable(line)}</li>" for line in panel.lines)
    return (
        f'<figure><figcaption>{_breakable(panel.title)}</figcaption><img width="{width}" '
        f'height="{height}" alt="{escape(panel.title)}: {len(panel.lines)} boxes, listed below" '
        f'src="data:image/jpeg;base64,{source}"><ol>{lines}</ol></figure>'
    )
