"""Settings of the semantic branch of a cascade."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from dense_lt.config.section import Section


class SemanticConfig(Section):
    """A semantic map of the image whose features are added to those of regions (HTC).

    It learns from the outlines of the objects; see docs/two_stage.md.
    """

    level: PositiveInt = 3
    """Pyramid level at which all levels are added up; level l has stride 2^l."""

    num_convs: int = Field(default=4, ge=0)
    """Convolutions after that."""

    pool_size: PositiveInt = 14
    """Cells a side that are pooled for a region; averaged to as many as its head has."""

    weight: float = Field(default=0.2, gt=0)
    """Factor on its loss in the total."""
