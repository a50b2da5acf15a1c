"""Reading YAML the way a person means it: 1e-4 is a number, a key given twice is a mistake."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dense_lt.utils.errors import ConfigError


@dataclass(frozen=True)
class Required:
    """A setting that only the user can know, written ``!required "what it is"`` in a file."""

    meaning: str


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 floats, no repeated keys, and ``!required``."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that occurs twice; PyYAML would keep the last without a word."""
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise ConfigError(f"key {key!r} occurs twice (line {line}); keep one of them")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _construct_required(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Required:
    return Required(str(loader.construct_scalar(node)))


_Loader.add_constructor("!required", _construct_required)


def parse(text: str) -> object:
    """One YAML document.

    Raises:
        ConfigError: it is not YAML, or a key occurs twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {error}") from error


def read_mapping(path: Path) -> dict[str, object]:
    """The mapping in the file `path`; an empty file is an empty mapping.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds something else than a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"{path}: cannot read this configuration: {reason}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file; expected YAML in UTF-8") from error
    try:
        content = parse(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path}: expected `key: value` lines, found {type(content).__name__}")
    return content
