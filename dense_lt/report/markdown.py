"""The document as Markdown, with its figures as files beside it."""

from __future__ import annotations

from dense_lt.report.document import (
    Block,
    Bullets,
    Cell,
    Document,
    Figure,
    Gallery,
    Paragraph,
    Table,
)
from dense_lt.report.tables import escape_markdown, markdown_table


def render_markdown(document: Document) -> str:
    """The whole document; pictures are linked as `figures/NAME.png`."""
    parts = [f"# {escape_markdown(document.title)}"]
    for section in document.sections:
        if section.title:
            parts.append(f"## {escape_markdown(section.title)}")
        parts.extend(_block(block) for block in section.blocks)
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    match block:
        case Paragraph(text, is_warning):
            return ("> **Warning:** " if is_warning else "") + escape_markdown(text)
        case Bullets(texts, is_warning):
            mark = "> - " if is_warning else "- "
            return "\n".join(mark + escape_markdown(text) for text in texts)
        case Table():
            header = [escape_markdown(text) for text in block.header]
            rows = [[_cell(cell) for cell in row] for row in block.rows]
            return markdown_table(header, rows, block.text_columns)
        case Figure():
            caption = escape_markdown(block.caption)
            return f"![{escape_markdown(block.alt)}](figures/{block.name}.png)\n\n*{caption}*"
        case Gallery():
            return _gallery(block)


def _cell(cell: Cell) -> str:
    text = escape_markdown(" ".join(part for part in (cell.text, cell.detail) if part))
    if not cell.delta:
        return text
    delta = escape_markdown(cell.delta)
    return f"{text} (**{delta}**)" if cell.mark in ("better", "worse") else f"{text} ({delta})"


def _gallery(gallery: Gallery) -> str:
    parts = [escape_markdown(gallery.rule)]
    for example in gallery.examples:
        titles = [escape_markdown(panel.title) for panel in example.panels]
        pictures = [
            f"![{title}](figures/{panel.name}.png)"
            for title, panel in zip(titles, example.panels, strict=True)
        ]
        lists = [
            "<br>".join(f"{n}. {escape_markdown(line)}" for n, line in enumerate(panel.lines, 1))
            for panel in example.panels
        ]
        table = markdown_table(titles, [pictures, lists], text_columns=len(titles))
        parts.append(f"**{escape_markdown(example.title)}**\n\n{table}")
    return "\n\n".join(parts)
