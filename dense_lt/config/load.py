"""From a YAML file, what it is based on, and overrides, to a checked configuration.

Later wins: `base:` files in order, then the file, then the overrides. Mappings merge key by key;
lists and scalars are replaced whole; a mapping that names another `kind` (of a backbone: another
`name`) replaces the old one, so that options of one loss never leak into the next, but for what
means the same in both: `Section.kept_by_every_choice`. Overrides may stand in any order: those that
choose come first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dense_lt.config.experiment import ExperimentConfig
from dense_lt.config.messages import describe
from dense_lt.config.schema import Sections, below, choices, chosen, default_choices, kept
from dense_lt.config.yaml_files import Required, parse, read_mapping
from dense_lt.utils.errors import ConfigError

Origins = dict[str, str]
"""Dotted key -> the file or override that set it last, in the order in which they were set."""

ROOT: Sections = (ExperimentConfig,)
"""What the whole of a configuration is."""


def load_config(path: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read `path`, what it is based on, and overrides of the form ``section.key=value``.

    Raises:
        ConfigError: a file is missing, `base:` runs in a circle, or a value is not valid. The
            message names the file, the dotted key, what was given and what is allowed.
    """
    merged = default_choices(ExperimentConfig)
    origins: Origins = {}
    _merge_file(merged, origins, path, opened=())
    parsed = [(_parse_override(override), f"override {override!r}") for override in overrides]
    # A choice forgets what was given beside another: it comes first, outer ones before inner ones.
    for value, source in sorted(parsed, key=lambda pair: _depth_of_choice(pair[0], ROOT)):
        _merge(merged, value, origins, source=source)
    unset = _find_required(merged)
    if unset:
        lines = [f"{key}: {required.meaning}; add {key}=VALUE" for key, required in unset]
        raise ConfigError(f"{path}: settings that only you can give:\n  " + "\n  ".join(lines))
    try:
        return ExperimentConfig.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(describe(error, merged, origins, default_source=str(path))) from None


def save_config(config: ExperimentConfig, path: Path) -> None:
    """Write the resolved configuration; `load_config` of that file gives an equal object."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, width=100)
    path.write_text(text, encoding="utf-8")


def with_defaults(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of an earlier run, with those that did not exist then at their defaults.

    So that runs of different versions are told apart by what they did. What has settings that this
    version does not know, or does not allow, comes back as it is.
    """
    try:
        return ExperimentConfig.model_validate(stored).model_dump(mode="json")
    except ValidationError:
        return stored


def _merge_file(merged: dict, origins: Origins, path: Path, opened: tuple[Path, ...]) -> None:
    resolved = path.resolve()
    if resolved in opened:
        circle = " -> ".join(str(file) for file in (*opened[opened.index(resolved) :], resolved))
        raise ConfigError(f"{path}: `base` runs in a circle: {circle}")
    content = read_mapping(path)
    bases = content.pop("base", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path}: base: expected a file name or a list of them, got {bases!r}")
    for base in bases:
        file = path.parent / base
        if not file.is_file():
            raise ConfigError(f"{path}: base: {base}: there is no file {file}")
        _merge_file(merged, origins, file, opened=(*opened, resolved))
    _merge(merged, content, origins, source=str(path))


def _merge(
    old: dict,
    new: dict,
    origins: Origins,
    *,
    source: str,
    candidates: Sections = ROOT,
    prefix: str = "",
) -> None:
    """Merge `new` into `old` in place, and note `source` for every key it sets.

    `candidates` are the sections that it may be.
    """
    _forget_other_choice(old, new, candidates)
    section = chosen(candidates, {**old, **new})
    for key, value in new.items():
        dotted = f"{prefix}{key}"
        origins.pop(dotted, None)  # what is set last stands at the end
        origins[dotted] = source
        if isinstance(value, dict):
            if not isinstance(old.get(key), dict):
                old[key] = {}
            inner = below([section], key) if section else []
            _merge(old[key], value, origins, source=source, candidates=inner, prefix=f"{dotted}.")
        else:
            old[key] = value


def _forget_other_choice(old: dict, new: dict, candidates: Sections) -> None:
    """Take out of `old` what belongs to another choice than that of `new`, if it makes one."""
    if not any(key in old and key in new and new[key] != old[key] for key in choices(candidates)):
        return
    section = chosen(candidates, {**old, **new})
    for key in old.keys() - kept(chosen(candidates, old), section):
        del old[key]
    if section:
        for key, value in default_choices(section).items():
            old.setdefault(key, value)


def _depth_of_choice(value: object, candidates: Sections) -> float:
    """At which depth a mapping makes its first choice (`kind`); infinity where it makes none."""
    if not isinstance(value, dict):
        return math.inf
    if choices(candidates) & value.keys():
        return 0
    depths = [_depth_of_choice(inner, below(candidates, key)) for key, inner in value.items()]
    return 1 + min(depths, default=math.inf)


def _parse_override(override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    keys = key.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(
            f"override {override!r}: expected section.key=value, such as train.batch_size=8"
        )
    try:
        value = parse(text)
    except ConfigError as error:
        raise ConfigError(f"override {override!r}: {error}") from error
    for name in reversed(keys):
        value = {name: value}
    return value  # type: ignore[return-value]


def _find_required(value: object, prefix: str = "") -> list[tuple[str, Required]]:
    if isinstance(value, Required):
        return [(prefix, value)]
    if not isinstance(value, dict):
        return []
    dotted = f"{prefix}." if prefix else ""
    return [
        pair for key, below in value.items() for pair in _find_required(below, f"{dotted}{key}")
    ]
