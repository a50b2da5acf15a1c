from html.parser import HTMLParser

import pytest

from dense_lt.report.document import (
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
from dense_lt.report.markdown import render_markdown
from dense_lt.report.page import render_page

EVIL = "<script>alert('x')</script>\"&"
VOID = {"meta", "br", "img", "input", "wbr"}


class Checker(HTMLParser):
    """Collects elements and texts; every element must be closed in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def document():
    """Every kind of block, with a text in every place that a data file could fill."""
    panel = Panel("panel", b"jpeg", (4, 5), EVIL, (EVIL,))
    blocks = (
        Paragraph(EVIL),
        Paragraph(EVIL, is_warning=True),
        Bullets((EVIL, EVIL)),
        Bullets((EVIL,), is_warning=True),
        Table(
            (EVIL, EVIL), ((Cell(EVIL, EVIL, EVIL, "better"), Cell(EVIL, order=1.0)),), label=EVIL
        ),
        Table((EVIL, "AP"), ((Cell(EVIL), Cell("1.0", order=0.01)),), is_sortable=True, label=EVIL),
        Figure("figure", "<svg></svg>", EVIL, EVIL),
        Gallery(EVIL, (Example(EVIL, (panel, panel)),)),
    )
    return Document(EVIL, (Section("all", EVIL, blocks),))


def test_names_are_text_everywhere_on_the_page(document):
    checked = Checker(render_page(document))
    assert checked.tags.count("script") == 1  # our own
    assert not any("alert" in name for name, _ in checked.attributes)
    assert sum("alert('x')" in text for text in checked.texts) > 15


def test_the_page_is_well_formed_and_asks_for_nothing_from_outside(document):
    page = render_page(document)
    checked = Checker(page)
    assert "link" not in checked.tags
    loading = {"src", "href", "srcset", "xlink:href", "action", "data"}
    sources = [value for name, value in checked.attributes if name in loading]
    assert sources
    assert all(value.startswith(("data:", "#")) for value in sources)
    assert "@import" not in page
    assert "url(" not in page.replace("url(#", "")


def test_every_drawing_and_picture_has_a_text_for_those_who_cannot_see_it(document):
    checked = Checker(render_page(document))
    assert checked.tags.count("img") == sum(name == "alt" for name, _ in checked.attributes)
    assert ("role", "img") in checked.attributes


def test_sortable_cells_carry_their_number(document):
    assert 'data-order="0.01">1.0</td>' in render_page(document)


def test_names_are_text_in_markdown_too(document):
    text = render_markdown(document)
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_long_names_may_break_at_underscores_and_numbers_may_not(document):
    table = Table(("very_long_name", "AP"), ((Cell("prior_0.01"), Cell("22.5")),))
    page = render_page(Document("t", (Section("s", "s", (table,)),)))
    assert "very_<wbr>long_<wbr>name" in page
    assert "prior_<wbr>0.01" in page
    assert ">22.5<" in page


def test_a_warning_is_set_apart_in_both_formats():
    warned = Document("t", (Section("s", "s", (Paragraph("Careful.", is_warning=True),)),))
    assert '<div class="warning" role="note"><strong>Warning.</strong> Careful.' in render_page(
        warned
    )
    assert "> **Warning:** Careful." in render_markdown(warned)
