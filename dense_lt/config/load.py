"""From a YAML file, what it is based on, and overrides, to a checked configuration.

Later wins: `base:` files in order, then the file, then the overrides. Mappings merge key by key;
lists and scalars are replaced whole; a mapping that names another `kind` replaces the old one
whole, so that options of one loss never leak into the next, but for the backbone, which every kind
of model has. Overrides may stand in any order: those that name a kind are taken first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from dense_lt.config.experiment import ExperimentConfig
from dense_lt.config.messages import describe
from dense_lt.config.yaml_files import Required, parse, read_mapping
from dense_lt.utils.errors import ConfigError

Origins = dict[str, str]
"""Dotted key -> the file or override that set it last."""


def load_config(path: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read `path`, what it is based on, and overrides of the form ``section.key=value``.

    Raises:
        ConfigError: a file is missing, `base:` runs in a circle, or a value is not valid. The
            message names the file, the dotted key, what was given and what is allowed.
    """
    merged = _default_kinds(ExperimentConfig)
    origins: Origins = {}
    _merge_file(merged, origins, path, opened=())
    # A kind forgets what was given beside another: it comes first, outer ones before inner ones.
    for override in sorted(overrides, key=_kinds_first):
        _merge(merged, _parse_override(override), origins, source=f"override {override!r}")
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


def _default_kinds(section: type[BaseModel]) -> dict[str, object]:
    """The `kind` of every default, so that `optimizer.lr=0.01` need not repeat `kind: sgd`."""
    kinds: dict[str, object] = {}
    for name, field in section.model_fields.items():
        if name == "kind" and isinstance(field.default, str):
            kinds[name] = field.default
        elif isinstance(field.default, BaseModel):
            below = _default_kinds(type(field.default))
            if below:
                kinds[name] = below
    return kinds


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


def _merge(old: dict, new: dict, origins: Origins, *, source: str, prefix: str = "") -> None:
    """Merge `new` into `old` in place, and note `source` for every key it sets."""
    if "kind" in new and "kind" in old and new["kind"] != old["kind"]:
        for key in old.keys() - {"backbone"}:
            del old[key]
    for key, value in new.items():
        dotted = f"{prefix}{key}"
        origins[dotted] = source
        if isinstance(value, dict):
            below = old.get(key)
            if not isinstance(below, dict):
                below = old[key] = {}
            _merge(below, value, origins, source=source, prefix=f"{dotted}.")
        else:
            old[key] = value


def _kinds_first(override: str) -> tuple[bool, int]:
    key = override.partition("=")[0].strip()
    names_kind = key.rpartition(".")[2] == "kind"
    return (not names_kind, key.count(".") if names_kind else 0)


def _parse_override(override: str) -> dict[str, object]:
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
