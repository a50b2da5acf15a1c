"""Settings of the assigners: which ground truth each prior learns."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from dense_lt.config.section import Section


class AtssConfig(Section):
    """Adaptive training sample selection (Zhang et al. 2020)."""

    kind: Literal["atss"] = "atss"
    top_k: PositiveInt = 9
    """Candidates per object and level; a level with fewer priors gives all."""


class MaxIoUConfig(Section):
    """Two thresholds on the IoU of a prior with the object it overlaps most (Lin et al. 2017)."""

    kind: Literal["max_iou"]
    positive_iou: float = Field(default=0.5, gt=0, le=1)
    """From this IoU on a prior learns its object."""

    background_iou: float = Field(default=0.4, ge=0, le=1)
    """Below this IoU a prior learns background; between the two it learns nothing."""

    low_quality: bool = True
    """The best priors of each object are positive however small their IoU is (published)."""

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> Self:
        if self.background_iou > self.positive_iou:
            raise ValueError(
                f"`background_iou` {self.background_iou} must not be above `positive_iou` "
                f"{self.positive_iou}"
            )
        return self


class CenterConfig(Section):
    """Points near the centre of an object, on the level that fits its size (Tian et al. 2019)."""

    kind: Literal["center"]
    radius: PositiveFloat | None = 1.5
    """Half the side, in strides, of the square around an object's centre whose points learn it
    (as far as it lies inside the object); null takes the whole object."""

    size_limits: tuple[PositiveFloat, ...] | None = None
    """Largest distance in pixels from a point to a side of its object, for every level but the
    last, which has none; a level begins where the one before it ends. null: 8 strides of the
    level, which are the published 64, 128, 256 and 512 on levels 3 to 7."""

    @model_validator(mode="after")
    def _limits_rise(self) -> Self:
        limits = list(self.size_limits or ())
        if limits != sorted(set(limits)):
            raise ValueError(f"`size_limits` must rise, got {limits}")
        return self


AssignerConfig = Annotated[AtssConfig | MaxIoUConfig | CenterConfig, Field(discriminator="kind")]
