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

    coordinates: Literal["continuous", "legacy"] = "continuous"
    """`legacy`: a box ends with the centre of its last pixel (x2 - x1 + 1 is its width), as in the
    authors' code of EFL; priors' centres must then lie half a pixel further inside."""


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


class PaaConfig(Section):
    """Probabilistic anchor assignment (Kim and Lee 2020); it reads the predictions."""

    kind: Literal["paa"]
    top_k: PositiveInt = 9
    """Candidates per object and level, of the least cost."""

    candidate_iou: float = Field(default=0.1, gt=0, le=1)
    """Least IoU of a candidate with its object; the best priors of an object always are."""

    box_weight: float = Field(default=1.3, ge=0)
    """Factor on the GIoU loss in the cost, beside the focal loss."""

    alpha: float = Field(default=0.25, ge=0, le=1)
    """Weight of positives in the focal loss of the cost."""

    gamma: float = Field(default=2.0, ge=0)
    """Exponent of the focal loss of the cost."""


class SimOtaConfig(Section):
    """Simplified optimal transport (Ge et al. 2021, YOLOX); it reads the predictions."""

    kind: Literal["simota"]
    top_k: PositiveInt = 10
    """Best IoUs of an object whose sum says how many priors learn it."""

    radius: PositiveFloat = 2.5
    """Half the side, in strides, of the square around an object's centre whose priors may learn
    it."""

    iou_weight: float = Field(default=3.0, ge=0)
    """Factor on -ln IoU in the cost, beside the cross-entropy."""


class TaskAlignedConfig(Section):
    """Task-aligned assignment (Feng et al. 2021, TOOD); it reads the predictions."""

    kind: Literal["task_aligned"]
    top_k: PositiveInt = 13
    """Priors that an object takes."""

    alpha: float = Field(default=1.0, ge=0)
    """Exponent of the score."""

    beta: float = Field(default=6.0, ge=0)
    """Exponent of the IoU."""


AssignerConfig = Annotated[
    AtssConfig | MaxIoUConfig | CenterConfig | PaaConfig | SimOtaConfig | TaskAlignedConfig,
    Field(discriminator="kind"),
]

READS_PREDICTIONS = frozenset({"paa", "simota", "task_aligned"})
"""Kinds of assigners that need the logits."""
