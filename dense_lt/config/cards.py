"""Cards: what a recipe restates, what was published for it, and in what ours deviates.

A card lies beside its configuration: `NAME.card.yaml` beside `NAME.yaml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from dense_lt.config.messages import describe
from dense_lt.config.section import Section
from dense_lt.config.yaml_files import read_mapping
from dense_lt.utils.errors import ConfigError

SUFFIX = ".card.yaml"

GROUPS = {
    "LVIS v1": ("rare", "common", "frequent"),
    "LVIS v0.5": ("rare", "common", "frequent"),
    "Open Images Challenge 2019": ("AP1", "AP2", "AP3", "AP4", "AP5"),
}
"""Data -> groups of classes, in the order in which AP by group is written."""

HEADER = ("recipe", "what", "metric", "AP", "by group", "source")


class SourceSection(Section):
    """Where the recipe was published."""

    paper: str
    """Authors, year, title or table."""

    repository: str | None = None
    """Address of the authors' code."""

    configuration: str | None = None
    """The file in it that is restated."""


class ProtocolSection(Section):
    """What was trained on and how it is scored."""

    data: Literal["LVIS v1", "LVIS v0.5", "Open Images Challenge 2019"]
    """Trained on its training split, scored on its validation split."""

    classes: PositiveInt
    metric: str
    """In words."""


class TrainingSection(Section):
    """The figures of the schedule, as published; a test compares them with the configuration."""

    learning_rate: PositiveFloat
    """After warm-up, for a step of `batch_size` images."""

    batch_size: PositiveInt
    """Images a step, over all devices."""

    epochs: PositiveInt | None = None
    """Length; with repeat factors an epoch is the lengthened one."""

    steps: PositiveInt | None = None
    """Length, instead of `epochs`."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("`epochs` or `steps` must be given, and not both")
        return self


class FiguresSection(Section):
    """What somebody measured with this recipe, in percent."""

    metric: Literal["box AP", "mask AP", "AP50"]
    overall: float = Field(gt=0, lt=100)
    groups: dict[str, float] = Field(default={})
    """AP by group of classes, those that were published."""

    source: str
    """Table or file in which these numbers stand."""


class RecipeCard(Section):
    """One recipe."""

    title: str
    source: SourceSection
    protocol: ProtocolSection
    training: TrainingSection
    published: tuple[FiguresSection, ...] = ()
    """Numbers that were read off their source."""

    unverified: str | None = None
    """What is published by hearsay and could not be checked; such numbers are not stated."""

    deviations: tuple[str, ...] = ()
    """In what our configuration or code differs from what was published."""

    note: str | None = None
    """Anything else, such as that the combination is ours."""

    @model_validator(mode="after")
    def _says_why_there_is_no_number(self) -> Self:
        if not self.published and self.unverified is None and self.note is None:
            raise ValueError("without `published` numbers, `unverified` or `note` must say why")
        return self

    @model_validator(mode="after")
    def _groups_are_those_of_the_data(self) -> Self:
        known = GROUPS[self.protocol.data]
        for figures in self.published:
            if list(figures.groups) != [name for name in known if name in figures.groups]:
                raise ValueError(
                    f"`published.groups` of {self.protocol.data} are {', '.join(known)}, in this "
                    f"order, got {', '.join(figures.groups)}"
                )
        return self

    def rows(self, name: str) -> list[tuple[str, ...]]:
        """Lines for a table with `HEADER`: one for each metric, or one without a number."""
        if not self.published:
            return [(name, self.title, "-", "-", "-", "no verified number")]
        return [
            (
                name,
                self.title,
                figures.metric,
                str(figures.overall),
                ", ".join(f"{group} {value:.1f}" for group, value in figures.groups.items()) or "-",
                figures.source,
            )
            for figures in self.published
        ]


def card_of(recipe: Path) -> Path:
    """Where the card of a configuration lies."""
    return recipe.with_name(recipe.stem + SUFFIX)


def is_card(path: Path) -> bool:
    """Whether a file is a card, by its name."""
    return path.name.endswith(SUFFIX)


def load_card(path: Path) -> RecipeCard:
    """Read a card.

    Raises:
        ConfigError: it is missing, or has unknown keys or wrong values.
    """
    content = read_mapping(path)
    try:
        return RecipeCard.model_validate(content)
    except ValidationError as error:
        raise ConfigError(describe(error, content, {}, default_source=str(path))) from None
