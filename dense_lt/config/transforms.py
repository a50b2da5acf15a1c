"""Settings of how images are changed on their way from the disk to the network."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

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


class LongSideConfig(Section):
    """Longer side to one of `sizes`: the image fits into a square of that side (letterboxing)."""

    kind: Literal["long_side"]
    sizes: tuple[PositiveInt, ...] = Field(default=(640,), min_length=1)
    """Candidates for the longer side, pixels."""

    per: Literal["step", "image"] = "step"
    """step: one size for all images of an optimizer step, in all processes (multi-scale training);
    image: each image draws its own."""


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
    ResizeConfig | LongSideConfig | LargeScaleJitterConfig, Field(discriminator="kind")
]


class MosaicConfig(Section):
    """Four images around a random centre, cut to `size`."""

    probability: Probability = 1.0
    """Of an image to become a mosaic."""

    size: SizeSetting = (640, 640)
    """Height and width of what comes out, pixels; each image is fitted into as much."""


class AffineConfig(Section):
    """Random rotation, scaling, shear and shift, of a mosaic or of an image alone."""

    probability: Probability = 1.0
    """Of an image that did not become a mosaic; a mosaic is always changed."""

    degrees: float = Field(default=10.0, ge=0, le=180)
    """Largest rotation to either side."""

    translate: float = Field(default=0.1, ge=0, le=1)
    """Largest shift to either side, as a fraction of height and width."""

    scale: tuple[PositiveFloat, PositiveFloat] = (0.1, 2.0)
    """Smallest and largest factor; uniform between them."""

    shear: float = Field(default=2.0, ge=0, lt=45)
    """Largest shear of each axis to either side, degrees."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        _check_rises("scale", self.scale)
        return self


class MixupConfig(Section):
    """Another image shines through at half strength; the objects of both are learnt."""

    probability: Probability = 1.0
    """Of an image to be mixed with another."""

    scale: tuple[PositiveFloat, PositiveFloat] = (0.8, 1.6)
    """Smallest and largest size of the other image, as a factor of this one's."""

    flip: Probability = 0.0
    """Probability of exchanging left and right in the other image."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        _check_rises("scale", self.scale)
        return self


class CopyPasteConfig(Section):
    """Objects of other images are cut out and laid over an image."""

    probability: Probability = 0.5
    """Of an image to have something pasted onto it."""

    images: tuple[PositiveInt, PositiveInt] = (1, 3)
    """Fewest and most images from which objects are taken; each number is equally likely."""

    rule: Literal["uniform", "inverse_square_root", "class_balanced", "repeat_factor"] = (
        "inverse_square_root"
    )
    """How likely an instance is to be drawn: all alike; by 1 / sqrt(instances of its class); by 1 /
    instances of its class, so that every class is as likely; by the repeat factor of its class."""

    threshold: PositiveFloat = 1e-3
    """Of `repeat_factor`: a class in fewer than this fraction of the images is drawn more often."""

    companions: Probability = 0.0
    """Probability that another object of the same image is pasted along, in its place."""

    scale: tuple[PositiveFloat, PositiveFloat] = (0.5, 1.5)
    """Smallest and largest factor of what is pasted, relative to images of equal area."""

    flip: Probability = 0.5
    """Probability of exchanging left and right in what is pasted."""

    shape: Literal["mask", "box"] = "mask"
    """What is cut out: the object along its outline, or its whole box (files without masks)."""

    min_visible: float = Field(default=0.1, ge=0, lt=1)
    """An object of which less than this part stays uncovered is no longer learnt."""

    @model_validator(mode="after")
    def _rise(self) -> Self:
        _check_rises("images", self.images)
        _check_rises("scale", self.scale)
        return self


class HsvConfig(Section):
    """Hue, saturation and value are each multiplied by 1 + gain * u, u uniform in [-1, 1]."""

    hue: float = Field(default=0.015, ge=0, le=1)
    """Gain of the hue."""

    saturation: float = Field(default=0.7, ge=0, le=1)
    """Gain of the saturation."""

    value: float = Field(default=0.4, ge=0, le=1)
    """Gain of the value."""


class AlbumentationConfig(Section):
    """Any transform of albumentations by name, with its arguments."""

    name: str
    """Class name, such as `RandomBrightnessContrast`."""

    arguments: dict[str, object] = Field(default={})
    """Keyword arguments of it, such as `{p: 0.5}`."""


class TransformsConfig(Section):
    """From the image on disk to the network's input, in the order of these settings.

    docs/augmentation.md explains them.
    """

    mosaic: MosaicConfig | None = None
    """null: off."""

    affine: AffineConfig | None = None
    """null: off."""

    mixup: MixupConfig | None = None
    """null: off."""

    copy_paste: CopyPasteConfig | None = None
    """null: off."""

    unmixed_last_epochs: NonNegativeFloat = 0.0
    """The four above are off in so many epochs at the end of training."""

    fill: PixelValue = 0
    """Grey level of what no image covers in mosaics and after affine, mixup and jitter."""

    horizontal_flip: Probability = 0.0
    """Probability."""

    vertical_flip: Probability = 0.0
    """Probability."""

    transpose: Probability = 0.0
    """Probability of exchanging the two axes."""

    resize: ResizeSetting | None = ResizeConfig()
    """null keeps the size on disk."""

    hsv: HsvConfig | None = None
    """null: off."""

    color: float = Field(default=0.0, ge=0, le=1)
    """Strength of brightness, contrast, saturation and hue jitter; 0 is none."""

    extra: tuple[AlbumentationConfig, ...] = ()
    """Further albumentations transforms, applied in this order after the ones above."""


def _check_rises(name: str, bounds: tuple[float, float]) -> None:
    if bounds[0] > bounds[1]:
        raise ValueError(f"`{name}` must rise, got [{bounds[0]:g}, {bounds[1]:g}]")
