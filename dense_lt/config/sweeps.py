"""Lists of runs: which configurations are compared, with which settings and seeds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from dense_lt.config.messages import describe
from dense_lt.config.section import Section
from dense_lt.config.yaml_files import read_mapping
from dense_lt.utils.errors import ConfigError


def _setting(text: str) -> str:
    if not re.match(r"[\w.]+=", text):
        raise ValueError(f"expected section.key=value, such as train.steps=100, got {text!r}")
    return text


def _folder_name(text: str) -> str:
    if not re.fullmatch(r"\w[\w.+-]*", text):
        raise ValueError(
            f"a folder is called that; use letters, digits and the signs _ . + -, got {text!r}"
        )
    return text


Setting = Annotated[str, AfterValidator(_setting)]
"""``section.key=value``."""


class SweepRun(Section):
    """One experiment; there is a run of it for every seed."""

    name: Annotated[str, AfterValidator(_folder_name)]
    """Of its folder, and in the comparison."""

    config: str
    """File, relative to the list."""

    settings: tuple[Setting, ...] = ()
    """Over those of the configuration."""

    init_from: str | None = None
    """Name of a run before it in the list, on whose weights it goes on, each seed on its own
    (decoupled training); the configuration says what is not taken over."""


class SweepConfig(Section):
    """What `dense-lt sweep LIST` trains, in the order of the comparison."""

    out: str
    """Folder of the runs, relative to where the command is given. Lists that share it share the
    runs they have in common; the comparison lies in a folder of it that is named like the list."""

    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Training seeds."""

    data_seeds: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Seeds of the drawn data set; null for that of the configuration."""

    settings: tuple[Setting, ...] = ()
    """Over those of every run, except where a run has its own."""

    runs: tuple[SweepRun, ...] = Field(min_length=1)
    """The first is the reference of the comparison."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [run.name for run in self.runs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"several runs are called {twice[0]}; give each a name of its own")
        return self

    @model_validator(mode="after")
    def _goes_on_from_an_earlier_one(self) -> Self:
        earlier: list[str] = []
        for run in self.runs:
            if run.init_from is not None and run.init_from not in earlier:
                raise ValueError(
                    f"{run.name}: init_from: {run.init_from} is not a run before it in the list "
                    f"({', '.join(earlier) or 'it is the first'})"
                )
            earlier.append(run.name)
        return self


def is_sweep(path: Path) -> bool:
    """Whether `path` is a list of runs, and not a configuration; False where there is no file.

    Raises:
        ConfigError: it is neither.
    """
    # none of these is a key of a configuration, and one of them may be misspelt
    return path.is_file() and not SweepConfig.model_fields.keys().isdisjoint(read_mapping(path))


def load_sweep(path: Path) -> SweepConfig:
    """Read a list of runs.

    Raises:
        ConfigError: it cannot be read, or a value is not valid; names the file and the key.
    """
    content = read_mapping(path)
    try:
        return SweepConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigError(describe(error, content, {}, str(path), root=SweepConfig)) from None
