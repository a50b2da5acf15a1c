"""The report as a neutral document, from which the page and the Markdown file are both made.

Every text is plain: each renderer escapes it for its own format, so that a class called
`<script>` is text everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Mark = Literal["", "better", "worse", "noise"]


@dataclass(frozen=True)
class Paragraph:
    """Running text; a warning is set apart."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class Bullets:
    """Sentences, one a line."""

    texts: tuple[str, ...]
    is_warning: bool = False


@dataclass(frozen=True)
class Cell:
    """A number or name, with what stands smaller beside it."""

    text: str
    detail: str = ""  # an interval
    delta: str = ""  # the difference to the reference
    mark: Mark = ""
    order: float | None = None  # what sorting goes by, instead of the text


@dataclass(frozen=True)
class Table:
    """A table whose first `text_columns` columns are names and the others numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    text_columns: int = 1
    is_sortable: bool = False  # and searchable
    label: str = ""  # for readers that cannot see it, and for the search field

    def turned(self) -> Table:
        """Columns as rows, where there are more than a page is wide; headings lose details."""
        header = (self.header[0], *(row[0].text for row in self.rows))
        columns = zip(*(row[1:] for row in self.rows), strict=True)
        rows = tuple((Cell(name), *own) for name, own in zip(self.header[1:], columns, strict=True))
        return replace(self, header=header, rows=rows)


@dataclass(frozen=True)
class Figure:
    """A drawing: `figures/{name}.png` and `.svg`, and the same as SVG text for the page."""

    name: str
    svg: str
    alt: str  # what it shows, for those who cannot see it
    caption: str


@dataclass(frozen=True)
class Panel:
    """One picture with numbered boxes, and what the numbers mean."""

    name: str  # figures/{name}.png
    jpeg: bytes
    size: tuple[int, int]  # (height, width) in pixels
    title: str
    lines: tuple[str, ...]  # line i is box i + 1


@dataclass(frozen=True)
class Example:
    """One image: ground truth and each run's detections, side by side."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Gallery:
    """Examples chosen by one rule."""

    rule: str
    examples: tuple[Example, ...]


Block = Paragraph | Bullets | Table | Figure | Gallery


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    sections: tuple[Section, ...]
