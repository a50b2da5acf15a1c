"""Which sections may stand where, and what they keep of each other, read off their types."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel

from dense_lt.config.section import Section

Sections = Sequence[type[BaseModel]]
"""Section classes that may stand at one place; which of them does is told by their `kind`."""


def sections_in(annotation: object) -> list[type[BaseModel]]:
    """The section classes inside an annotation (a class, a union, Annotated)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Annotated, Union, types.UnionType, tuple):
        return [section for part in get_args(annotation) for section in sections_in(part)]
    return []


def kind_values(section: type[BaseModel]) -> tuple[str, ...]:
    """What `kind` may be in `section`; nothing where it has none."""
    field = section.model_fields.get("kind")
    return get_args(field.annotation) if field else ()


def chosen(candidates: Sections, value: object) -> type[BaseModel] | None:
    """The one of `candidates` that `value` is to be, by its `kind`; None if that is not known."""
    if len(candidates) <= 1:
        return candidates[0] if candidates else None
    kind = value.get("kind") if isinstance(value, Mapping) else None
    return next((section for section in candidates if kind in kind_values(section)), None)


def below(candidates: Sections, key: str) -> list[type[BaseModel]]:
    """Section classes that may stand at `key` of any of `candidates`."""
    fields = [section.model_fields[key] for section in candidates if key in section.model_fields]
    return [section for field in fields for section in sections_in(field.annotation)]


def choices(candidates: Sections) -> set[str]:
    """The keys that say what `candidates` are: `kind`, or another, see `Section.choice`."""
    return {section.choice for section in candidates if issubclass(section, Section)}


def kept(old: type[BaseModel] | None, new: type[BaseModel] | None) -> frozenset[str]:
    """Settings of `old` that mean the same in `new`, see `Section.kept_by_every_choice`."""
    if old is None or new is None or not (issubclass(old, Section) and issubclass(new, Section)):
        return frozenset()
    return old.kept_by_every_choice & new.kept_by_every_choice


def default_choices(section: type[BaseModel]) -> dict[str, object]:
    """The choice of every default, so that `optimizer.lr=0.01` need not repeat `kind: sgd`.

    With what a default states beside it, since a section that is begun is made anew.
    """
    found: dict[str, object] = {}
    for name, field in section.model_fields.items():
        if name in choices([section]) and isinstance(field.default, str):
            found[name] = field.default
        elif isinstance(field.default, BaseModel) and (own := default_choices(type(field.default))):
            found[name] = field.default.model_dump(exclude_defaults=True) | own
    return found
