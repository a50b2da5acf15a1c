import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, PositiveFloat, PositiveInt

from dense_lt.config.reference import BEGIN, END, reference, renewed
from dense_lt.config.section import Section

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


class Circle(Section):
    """Round."""

    kind: Literal["circle"] = "circle"
    color: str = "red"
    """Of the line."""

    radius: PositiveFloat = 1.5
    """In pixels, |r|."""


class Grid(Section):
    """Of points,
    in rows."""

    kind: Literal["square", "oblong"]
    color: str = "red"
    """Of the line."""

    sides: tuple[PositiveInt, PositiveInt] | None = None
    """null: one."""

    share: float = Field(default=0.25, ge=0, lt=1)
    """Of the page."""


class Drawing(Section):
    """What is drawn."""

    name: str
    """Of the file."""

    shape: Annotated[Circle | Grid, Field(discriminator="kind")] = Circle(radius=2)
    others: tuple[Circle, ...] = ()
    """Beside it."""


def test_a_section_reads_as_it_is_written():
    assert reference({"Drawing": Drawing}).splitlines() == [
        "### Drawing",
        "",
        "What is drawn.",
        "",
        "| setting | values | default | what it is |",
        "|---|---|---|---|",
        "| `name` | text | must be given | Of the file. |",
        "| `shape` | [section](#shape) | `{kind: circle, radius: 2.0}` |  |",
        "| `others` | list: [section](#shape) | `[]` | Beside it. |",
        "",
        "### `shape`",
        "",
        "`kind` is one of `circle`, `square`, `oblong`. In each:",
        "",
        "| setting | values | default | what it is |",
        "|---|---|---|---|",
        "| `color` | text | `red` | Of the line. |",
        "",
        "**`kind: circle`**: Round.",
        "",
        "| setting | values | default | what it is |",
        "|---|---|---|---|",
        "| `radius` | number > 0 | `1.5` | In pixels, \\|r\\|. |",
        "",
        "**`kind: square` or `kind: oblong`**: Of points, in rows.",
        "",
        "| setting | values | default | what it is |",
        "|---|---|---|---|",
        "| `sides` | list of 2: whole number > 0 or null | `null` | null: one. |",
        "| `share` | number >= 0, < 1 | `0.25` | Of the page. |",
    ]


def test_only_what_is_between_the_marks_is_made():
    text = renewed(f"before\n{BEGIN}old\n{END}after\n")
    assert text.startswith(f"before\n{BEGIN}### ")
    assert text.endswith(f"\n{END}after\n")
    assert renewed(text) == text


def test_the_page_has_the_settings_as_they_are():
    text = PAGE.read_text()
    assert renewed(text) == text, "the settings have changed: `make docs` writes them into the page"


def test_every_setting_says_what_it_is():
    rows = re.findall(r"^\| (`\w+` \| .*)$", reference(), flags=re.MULTILINE)
    assert [row for row in rows if row.endswith("|  |") and "[section]" not in row] == []


@pytest.mark.parametrize("setting", ["layer_decay", "count_prior", "data_seeds", "canonical_size"])
def test_settings_of_all_depths_are_there(setting):
    assert f"| `{setting}` |" in reference()


def test_every_link_of_the_page_leads_to_a_heading():
    text = PAGE.read_text()
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    names = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
    assert len(names) == len(set(names))
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= set(names)
