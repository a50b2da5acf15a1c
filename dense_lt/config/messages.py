"""Turning pydantic's findings into lines that name the file, the key to type, and the mend."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from dense_lt.config.experiment import ExperimentConfig
from dense_lt.config.schema import chosen, kind_values, sections_in

MAX_SHOWN = 80
"""Longest piece of a wrong value that a message repeats, characters."""


def describe(
    error: ValidationError,
    raw: Mapping[str, object],
    origins: dict[str, str],
    default_source: str,
    root: type[BaseModel] = ExperimentConfig,
) -> str:
    """All findings of `error`, one a line: ``file: dotted.key: what is wrong; what is allowed``.

    Args:
        error: what pydantic found.
        raw: the merged mapping that was validated.
        origins: dotted key -> file or override that set it, those set last at the end.
        default_source: file to name for a key that nobody set.
        root: the section that `raw` was to be.
    """
    lines = []
    for finding in error.errors():
        least = finding.get("ctx", {}).get("min_length", math.inf)
        if finding["type"] == "too_short" and len(finding["input"]) >= least:
            continue  # pydantic counts the valid items alone, and names the others beside this
        keys = _typed_keys(finding["loc"], raw)
        dotted = ".".join(keys)
        source = _blamed(finding, keys, origins) or _origin(keys, origins) or default_source
        where = f"{source}: {dotted}: " if dotted else f"{source}: "
        lines.append(where + _what(finding, keys, raw, root))
    return "\n".join(dict.fromkeys(lines))


def _typed_keys(location: Sequence[int | str], raw: object) -> list[str]:
    """The keys a user types: pydantic's location without the tags of unions."""
    keys: list[str] = []
    value = raw
    for position, part in enumerate(location):
        if isinstance(value, Mapping):
            is_tag = part == value.get("kind") and part not in value
            if is_tag and position + 1 < len(location):
                continue
            if is_tag:
                break
            value = value.get(part)
        elif isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif not isinstance(part, int):
            break  # a branch of a plain union, such as `bool` in `"auto" | bool`
        keys.append(str(part))
    return keys


def _blamed(finding: Mapping[str, Any], keys: Sequence[str], origins: dict[str, str]) -> str | None:
    """Who made the choice to which a missing key belongs, or set last what a message names.

    Without that the last override of a section would be named, whatever it sets.
    """
    if finding["type"] == "missing":
        section, named = keys[:-1], ["kind"]
    elif finding["type"] == "value_error":
        section, named = keys, ["kind", *re.findall(r"`([\w.]+)", finding["msg"])]
    else:
        return None
    dotted = {".".join([*section, key]) for key in named}
    return next((origins[key] for key in reversed(origins) if key in dotted), None)


def _origin(keys: Sequence[str], origins: Mapping[str, str]) -> str | None:
    """Who set this key, or else the nearest key above it."""
    for length in range(len(keys), 0, -1):
        source = origins.get(".".join(keys[:length]))
        if source is not None:
            return source
    return None


_WANTED = {
    "model_type": "a section (a mapping of settings)",
    "tuple_type": "a list, such as [1, 2]",
    "list_type": "a list, such as [1, 2]",
}
"""Type of a finding -> what belongs there, in YAML's words."""


def _what(
    finding: Mapping[str, Any],
    keys: Sequence[str],
    raw: Mapping[str, object],
    root: type[BaseModel],
) -> str:
    kind = finding["type"]
    if kind == "extra_forbidden":
        return _unknown_key(keys, raw, root)
    if kind == "missing":
        return "is missing and has no default; set it"
    if kind in ("union_tag_not_found", "model_attributes_type"):
        if not isinstance(finding["input"], Mapping):
            kinds = ", ".join(_kinds(keys, raw, root))
            return f"expected a section whose `kind` is one of {kinds}, got {_shown(finding)}"
        return f"`kind` is missing; set it to one of {', '.join(_kinds(keys, raw, root))}"
    if kind == "union_tag_invalid":
        kinds = _kinds(keys, raw, root)
        given = finding["ctx"]["tag"]
        return f"unknown kind {given!r}{_nearest(given, kinds)}; allowed: {', '.join(kinds)}"
    if wanted := _WANTED.get(kind):
        return f"expected {wanted}, got {_shown(finding)}"
    message = finding["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return message
    return f"{message[0].lower()}{message[1:]}, got {_shown(finding)}"


def _shown(finding: Mapping[str, Any]) -> str:
    """The value that was given, cut short."""
    given = repr(finding["input"])
    return given if len(given) <= MAX_SHOWN else given[:MAX_SHOWN] + "..."


def _unknown_key(keys: Sequence[str], raw: Mapping[str, object], root: type[BaseModel]) -> str:
    section = _section_at(keys[:-1], raw, root)
    known = sorted(section.model_fields) if section else []
    if keys == ["base"]:  # pragma: no cover - `base` is taken out before
        return "unknown key"
    return f"unknown key{_nearest(keys[-1], known)}; allowed here: {', '.join(known)}"


def _nearest(given: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(given), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _candidates(
    keys: Sequence[str], raw: Mapping[str, object], root: type[BaseModel]
) -> list[type[BaseModel]]:
    """Section classes that may stand at `keys`."""
    candidates: list[type[BaseModel]] = [root]
    value: Any = raw
    for key in keys:
        section = chosen(candidates, value)
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list | tuple) and key.isdigit():
            value = value[int(key)]
            continue
        field = section.model_fields.get(key) if section else None
        if field is None:
            return []
        candidates = sections_in(field.annotation)
    return candidates


def _section_at(
    keys: Sequence[str], raw: Mapping[str, object], root: type[BaseModel]
) -> type[BaseModel] | None:
    value: Any = raw
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list | tuple) and key.isdigit():
            value = value[int(key)]
    return chosen(_candidates(keys, raw, root), value)


def _kinds(keys: Sequence[str], raw: Mapping[str, object], root: type[BaseModel]) -> list[str]:
    return [kind for section in _candidates(keys, raw, root) for kind in kind_values(section)]
