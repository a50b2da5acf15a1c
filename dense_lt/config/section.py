"""What every section of a configuration has in common."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Unknown keys are errors, nothing changes after loading, text below a field is its help."""

    choice: ClassVar[str] = "kind"
    """The key that says what the others are about: another value of it forgets what was given
    beside the old one, but for `kept_by_every_choice`."""

    kept_by_every_choice: ClassVar[frozenset[str]] = frozenset()
    """Settings that mean the same whatever is chosen, and are kept where both sides name them."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
    )
