"""Settings of the pyramid of YOLOX."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import PositiveFloat, model_validator

from dense_lt.config.section import Section


class PathAggregationConfig(Section):
    """Top-down and bottom-up path with the backbone's channels (PANet, as in YOLOX)."""

    kind: Literal["path_aggregation"]
    levels: tuple[int, int] = (3, 5)
    """First and last backbone level, which are those that the head sees."""

    depth: PositiveFloat = 1.0
    """Bottlenecks of a stage, in thirds: 0.33 in YOLOX-S, 0.67 in -M."""

    residual: bool = False
    """Bottlenecks add their input: as in EFL's code, not in YOLOX's."""

    @property
    def backbone_levels(self) -> tuple[int, int]:
        """The same as `levels`."""
        return self.levels

    @model_validator(mode="after")
    def _levels_fit(self) -> Self:
        first, last = self.levels
        if not 1 <= first < last <= 6:
            raise ValueError(f"`levels` must be [first, last] within 1..6, got [{first}, {last}]")
        return self
