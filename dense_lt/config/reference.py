"""Every setting with its values, default and meaning, as the lower part of docs/configuration.md.

`python -m dense_lt.config.reference docs/configuration.md` renews it; a test holds the page to it.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dense_lt.config.experiment import ExperimentConfig
from dense_lt.config.schema import Sections, kept, kind_values, sections_in
from dense_lt.config.sweeps import SweepConfig

BEGIN, END = "<!-- settings:begin -->\n", "<!-- settings:end -->\n"
"""What is between these lines of the page is made here."""

ROOTS = {"The whole file": ExperimentConfig, "A list of runs": SweepConfig}
"""Heading -> what a user writes into one file."""

_SIGNS = {Gt: "> {0.gt}", Ge: ">= {0.ge}", Lt: "< {0.lt}", Le: "<= {0.le}"}
_WORDS = {bool: "`true`, `false`", int: "whole number", float: "number", str: "text", Path: "path"}


def reference(roots: Mapping[str, type[BaseModel]] = ROOTS) -> str:
    """Markdown: a heading for every section, below it its kinds and a table of its settings."""
    places: dict[type[BaseModel], str] = {}
    lines: list[str] = []
    for _ in range(2):  # the second time it is known where everything stands
        page = _Page(links=places)
        for heading, root in roots.items():
            page.add(heading, "", [root])
        places, lines = page.places, page.lines
    return "\n".join(lines)


def renewed(text: str) -> str:
    """`text` of the page, with what is between `BEGIN` and `END` made anew."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{reference()}\n{END}{rest.partition(END)[2]}"


@dataclass
class _Page:
    lines: list[str] = field(default_factory=list)
    places: dict[type[BaseModel], str] = field(default_factory=dict)  # section -> its heading
    links: dict[type[BaseModel], str] = field(default_factory=dict)  # the same, of the whole page

    def add(self, heading: str, path: str, candidates: Sections, within: str = "") -> None:
        """Describe the sections that may stand at `path`, then those below them.

        Args:
            heading: of this place.
            path: dotted, ends with a dot unless it is the root.
            candidates: sections that may stand there.
            within: kinds of the sections above, as far as `path` depends on them.
        """
        fresh = [section for section in candidates if section not in self.places]
        self.lines += [f"### {heading}", ""]
        shared = _shared(candidates) if len(candidates) > 1 else {}
        if len(candidates) > 1:
            self._choice(candidates, has_more=bool(shared))
        self._table(shared, path, within)
        inner = dict.fromkeys(candidates, within)
        for section in candidates:
            before = f"**{_kinds(section)}**: " if len(candidates) > 1 else ""
            if before:  # what is below depends on the kind
                inner[section] = ", ".join(filter(None, [within, f"`{kind_values(section)[0]}`"]))
            if section not in fresh:
                self.lines += [f"{before}as in {_link(self.places[section])}.", ""]
                continue
            self.places[section] = heading
            self.lines += [before + " ".join((section.__doc__ or "").split()), ""]
            own = {k: v for k, v in section.model_fields.items() if k not in ("kind", *shared)}
            self._table(own, path, inner[section])
        for section in fresh:
            for name, own in section.model_fields.items():
                below, kinds = (
                    sections_in(own.annotation),
                    within if name in shared else inner[section],
                )
                if any(one not in self.places for one in below):
                    self.add(_heading(path + name, kinds), f"{path}{name}.", below, kinds)

    def _choice(self, candidates: Sections, *, has_more: bool) -> None:
        kinds = _code(kind for own in candidates for kind in kind_values(own))
        same = frozenset.intersection(*(kept(own, candidates[0]) for own in candidates))
        keeps = f" Another kind keeps {_code(sorted(same))}." if same else ""
        self.lines += [f"`kind` is one of {kinds}.{keeps}{' In each:' if has_more else ''}", ""]

    def _table(self, fields: dict[str, FieldInfo], path: str, within: str) -> None:
        if not fields:
            return
        self.lines += ["| setting | values | default | what it is |", "|---|---|---|---|"]
        for name, own in fields.items():
            below = sections_in(own.annotation)
            known = {self.links[one] for one in below if one in self.links}
            place = known.pop() if len(known) == 1 else _heading(path + name, within)
            values = _values(own.annotation, own.metadata, _link(place, "section"))
            text = own.description or (below[0].__doc__ if len(below) == 1 else "") or ""
            cells = (f"`{name}`", values, _default(own), " ".join(text.split()))
            self.lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        self.lines.append("")


def _shared(candidates: Sections) -> dict[str, FieldInfo]:
    """The settings that all `candidates` have, with the same values, default and meaning."""
    first, *others = (section.model_fields for section in candidates)
    return {
        name: own
        for name, own in first.items()
        if name != "kind" and all(_same(own, fields.get(name)) for fields in others)
    }


def _same(one: FieldInfo, other: FieldInfo | None) -> bool:
    names = ("annotation", "metadata", "default", "description")
    return all(getattr(one, name) == getattr(other, name, other) for name in names)


def _heading(path: str, within: str) -> str:
    return f"`{path}`" + (f" of {within}" if within else "")


def _link(heading: str, text: str = "") -> str:
    """Markdown link to a heading of the same page, as GitHub names it."""
    name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
    return f"[{text or heading}](#{name})"


def _code(words: Iterable[object]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _kinds(section: type[BaseModel]) -> str:
    return " or ".join(f"`kind: {kind}`" for kind in kind_values(section))


def _values(annotation: Any, metadata: Iterable[object], section: str) -> str:
    """The values that an annotation allows, in words; `section` stands for any section."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return section
    if origin is Annotated:
        return _values(inner[0], [*inner[1:], *metadata], section)
    if origin in (Union, types.UnionType):
        parts = [_values(one, metadata, section) for one in inner]
        return " or ".join(dict.fromkeys(parts))
    if origin is Literal:
        return _code(map(_yaml, inner))
    if origin is tuple:
        number = "" if inner[-1] is Ellipsis else f" of {len(inner)}"
        return f"list{number}: {_values(inner[0], metadata, section)}"
    if origin is dict:
        return "mapping"
    word = _WORDS.get(annotation, "null" if annotation is type(None) else "anything")
    bounds = _bounds(metadata) if annotation in (int, float) else []
    return " ".join([word, ", ".join(bounds)]).strip()


def _bounds(metadata: Iterable[object]) -> Sequence[str]:
    flat = [one for m in metadata for one in (m.metadata if isinstance(m, FieldInfo) else [m])]
    return [_SIGNS[type(one)].format(one) for one in flat if type(one) in _SIGNS]


def _default(own: FieldInfo) -> str:
    return "must be given" if own.is_required() else f"`{_yaml(own.default)}`"


def _yaml(value: object) -> str:
    """In one line. Of a section its kind and what differs from the defaults of its class."""
    if isinstance(value, BaseModel):
        kind = {"kind": value.kind} if "kind" in type(value).model_fields else {}  # type: ignore
        value = kind | value.model_dump(mode="json", exclude_defaults=True)
    elif isinstance(value, tuple):
        value = list(value)
    elif isinstance(value, Path):
        value = str(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
    return text.removesuffix("...\n").strip()


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:]):
        page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
