"""Settings of the pyramids: FPN, and that of YOLOX."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import PositiveFloat, PositiveInt, model_validator

from dense_lt.config.section import Section


class PyramidConfig(Section):
    """Feature pyramid (Lin et al. 2017); level l has stride 2^l."""

    kind: Literal["fpn"] = "fpn"
    levels: tuple[int, int] = (3, 7)
    """First and last level that the head sees."""

    backbone_levels: tuple[int, int] = (3, 5)
    """First and last backbone level that feeds the top-down path; levels above come from the last
    of them (`above`)."""

    channels: PositiveInt = 256
    """Channels of every level."""

    above: Literal["convolution", "lateral_convolution", "max_pool"] = "convolution"
    """How levels above the backbone's are made: by stride-2 convolutions (RetinaNet), by the same
    from what enters the top of the top-down path and without ReLU (EFL's code), or as every second
    cell of the level below (two-stage detectors)."""

    initialization: Literal["kaiming_uniform", "xavier_uniform", "xavier_normal"] = (
        "kaiming_uniform"
    )
    """Start of its convolutions: as in torchvision, in mmdetection, in EFL's code."""

    @model_validator(mode="after")
    def _levels_fit(self) -> Self:
        (first, last), (below, above) = self.levels, self.backbone_levels
        if not 1 <= first <= last <= 9:
            raise ValueError(f"`levels` must be [first, last] within 1..9, got [{first}, {last}]")
        if not 1 <= below <= above <= 6:
            raise ValueError(f"`backbone_levels` must lie within 1..6, got [{below}, {above}]")
        if first != below:
            raise ValueError(
                f"`levels` starts at {first} but `backbone_levels` at {below}; let both start there"
            )
        return self


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
