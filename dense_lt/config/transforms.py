"""Settings of how images are changed on their way from the disk to the network."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from dense_lt.config.section import Section

Probability = Annotated[float, Field(ge=0, le=1)]
PixelValue = Annotated[int, Field(ge=0, le=255)]
SizeSetting = tuple[PositiveInt, PositiveInt]
"""Height and width, pixels."""


class ResizeConfig(Section):
    """Shorter side to one of `short`, unless the longer side would pass `long`."""

    kind: Literal["short_side"] = "short_side"
    short: tuple[PositiveInt, ...] = Field(default=(800,), min_length=1)
    """Candidates for the shorter side, pixels; one is drawn per image in training."""

    long: PositiveInt = 1333
    """Cap of the longer side, pixels."""


class LetterboxConfig(Section):
    """Longer side to one of `sizes`, then padded right and bottom to a square of that side."""

    kind: Literal["letterbox"]
    sizes: tuple[PositiveInt, ...] = Field(default=(640,), min_length=1)
    """Candidates for the side of the square, pixels."""

    per: Literal["step", "image"] = "step"
    """step: one size for all images of an optimizer step, in all processes (multi-scale training);
    image: each image draws its own, and a batch is padded to its largest."""


class LargeScaleJitterConfig(Section):
    """Fitted into `size`, scaled by a random factor, then cropped or padded to `size`."""

    kind: Literal["large_scale_jitter"]
    size: SizeSetting = (1024, 1024)
    """Height and width of what comes out, pixels."""

    scales: tuple[PositiveFloat, PositiveFloat] = (0.1, 2.0)
    """Smallest and largest factor; uniform between them. [0.8, 1.25] is standard jitter."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        _check_rises("scales", self.scales)
        return self


ResizeSetting = Annotated[
    ResizeConfig | LetterboxConfig | LargeScaleJitterConfig, Field(discriminator="kind")
]


class HsvConfig(Section):
    """Hue, saturation and value are each multiplied by 1 + gain * u, u uniform in [-1, 1]."""

    hue: float = Field(default=0.015, ge=0, le=1)
    saturation: float = Field(default=0.7, ge=0, le=1)
    value: float = Field(default=0.4, ge=0, le=1)


class AlbumentationConfig(Section):
    """Any transform of albumentations by name, with its arguments."""

    name: str
    """Class name, such as `RandomBrightnessContrast`."""

    arguments: dict[str, object] = Field(default={})


class TransformsConfig(Section):
    """From the image on disk to the network's input, in the order of these settings."""

    fill: PixelValue = 0
    """Grey level of what no image covers after jitter and letterboxing."""

    resize: ResizeSetting | None = ResizeConfig()
    """null keeps the size on disk."""

    horizontal_flip: Probability = 0.0
    """Probability."""

    vertical_flip: Probability = 0.0
    """Probability."""

    transpose: Probability = 0.0
    """Probability of exchanging the two axes."""

    hsv: HsvConfig | None = None
    """null: off."""

    color: float = Field(default=0.0, ge=0, le=1)
    """Strength of brightness, contrast, saturation and hue jitter; 0 is none."""

    extra: tuple[AlbumentationConfig, ...] = ()
    """Further albumentations transforms, applied in this order after the ones above."""


def _check_rises(name: str, bounds: tuple[float, float]) -> None:
    if bounds[0] > bounds[1]:
        raise ValueError(f"`{name}` must rise, got [{bounds[0]:g}, {bounds[1]:g}]")
