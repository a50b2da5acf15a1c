"""Settings of every detector: what it starts from and what of it stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import PositiveInt

from dense_lt.config.section import Section


class DetectorSection(Section):
    """Any detector, each with a `backbone`."""

    kept_by_every_choice: ClassVar[frozenset[str]] = frozenset({"backbone"})

    num_classes: PositiveInt | None = None
    """Normally null: read from the annotations. A number that differs from them is an error."""

    init_from: Path | None = None
    """A run folder, one of its checkpoints, or a file of weights (.safetensors, .pth) with our
    names: what has the same name and shape is loaded before training, and the log says what is."""

    init_except: tuple[str, ...] = ()
    """Patterns of parameter names that `init_from` leaves as they are made, such as
    `head*classifier*`."""

    frozen: tuple[str, ...] = ()
    """Patterns of parameter names that do not train, such as `pyramid.*`; modules that are frozen
    as a whole stay in evaluation mode. `*` matches dots too; a leading `!` takes names out of what
    the patterns before it matched."""
