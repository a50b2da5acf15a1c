"""Settings of the order of images: which come how often in training."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat

from dense_lt.config.section import Section


class RandomSamplerConfig(Section):
    """Every image once an epoch, in random order."""

    kind: Literal["random"] = "random"


class RepeatFactorSamplerConfig(Section):
    """Images of rare classes several times an epoch: r = max(1, (threshold / f)^exponent).

    `repeat_factor` (RFS, Gupta et al. 2019) takes for f the fraction of images with the class,
    `instance_aware_repeat_factor` (IRFS, Yaman et al. 2023) the geometric mean of that and of the
    class's fraction of all instances. Nothing else differs: each keeps the settings of the other.
    """

    kept_by_every_choice: ClassVar[frozenset[str]] = frozenset(
        {"threshold", "exponent", "rounding"}
    )

    kind: Literal["repeat_factor", "instance_aware_repeat_factor"]
    threshold: PositiveFloat = 1e-3
    """A class with a smaller f than this is repeated."""

    exponent: float = Field(default=0.5, gt=0, le=1)
    """Of threshold / f; 1/2 is the published square root."""

    rounding: Literal["stochastic", "ceil", "floor", "round"] = "stochastic"
    """How a repeat factor becomes a count: drawn anew each epoch (detectron2), or rounded once."""


class ClassAwareSamplerConfig(Section):
    """Every class equally often (CAS): classes in cycles, each giving the next image of its own."""

    kind: Literal["class_aware"]


class SquareRootSamplerConfig(Section):
    """A class as often as the square root of the number of its images says."""

    kind: Literal["square_root"]
    exponent: float = Field(default=0.5, ge=0, le=1)
    """Another power than 1/2: 0 is every class equally often, 1 as often as it has images."""


SamplerConfig = Annotated[
    RandomSamplerConfig
    | RepeatFactorSamplerConfig
    | ClassAwareSamplerConfig
    | SquareRootSamplerConfig,
    Field(discriminator="kind"),
]
