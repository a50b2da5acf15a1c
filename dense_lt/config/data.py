"""Settings of the data: which files, how images are changed, in which order they come."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from dense_lt.config.openimages import OpenImagesConfig
from dense_lt.config.sampling import RandomSamplerConfig, SamplerConfig
from dense_lt.config.section import Section
from dense_lt.config.transforms import (
    LargeScaleJitterConfig,
    ResizeConfig,
    TransformsConfig,
)


class DrawnConfig(Section):
    """The drawn long-tailed data set; made on first use, the same bytes for the same settings."""

    kind: Literal["drawn"] = "drawn"
    folder: Path | None = None
    """Where it lies or is put; null means `data/drawn/` and a name made from the settings."""

    seed: int = Field(default=0, ge=0)
    """Another seed gives other classes, images and counts of co-occurrence."""

    image_size: int = Field(default=80, ge=48)
    """Side of the square images, pixels."""

    object_diameters: tuple[PositiveFloat, PositiveFloat] = (16, 36)
    """Smallest and largest diameter of an object, pixels; log-uniform between them."""

    train_images: PositiveInt = 3000
    """Number of training images."""

    val_images: PositiveInt = 600
    """Number of validation images."""

    frequent: int = Field(default=13, ge=1)
    """Number of frequent classes."""

    common: int = Field(default=14, ge=0)
    """Number of common classes."""

    rare: int = Field(default=18, ge=0)
    """Number of rare classes."""

    frequent_images: tuple[PositiveInt, PositiveInt] = (900, 110)
    """Training images of the most and of the least frequent class of the group."""

    common_images: tuple[PositiveInt, PositiveInt] = (90, 12)
    """The same for the common classes."""

    rare_images: tuple[PositiveInt, PositiveInt] = (6, 1)
    """The same for the rare classes."""

    val_images_per_class: PositiveInt = 30
    """Validation images of every class."""

    negatives_per_image: int = Field(default=10, ge=0)
    """Classes listed as verified to be absent, per image."""

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        smallest, largest = self.object_diameters
        if not 4 <= smallest <= largest <= 0.8 * self.image_size:
            raise ValueError(
                "`object_diameters` must rise, from 4 pixels at least to 0.8 `image_size` "
                f"({0.8 * self.image_size:g}) at most, got [{smallest:g}, {largest:g}]"
            )
        for name in ("frequent_images", "common_images", "rare_images"):
            first, last = getattr(self, name)
            if first < last:
                raise ValueError(f"`{name}` must not rise, got [{first}, {last}]")
        most = max(*self.frequent_images, *self.common_images, *self.rare_images)
        if most > self.train_images:
            raise ValueError(
                f"a class is to be in {most} training images but `train_images` is "
                f"{self.train_images}; lower the former or raise the latter"
            )
        if self.val_images_per_class > self.val_images:
            raise ValueError(
                f"`val_images_per_class` {self.val_images_per_class} is more than `val_images` "
                f"{self.val_images}"
            )
        return self


class SplitConfig(Section):
    """One annotation file and where its images lie."""

    annotations: Path
    """LVIS v0.5, LVIS v1 or plain COCO JSON."""

    images: tuple[Path, ...] = Field(min_length=1)
    """Folders in which images are looked for, first to last."""


class JsonDatasetConfig(Section):
    """LVIS or COCO files; which of the two is read off the file."""

    kind: Literal["lvis", "coco"]
    root: Path = Path()
    """Put before every relative path of this section."""

    train: SplitConfig
    val: SplitConfig


SingleDatasetConfig = Annotated[
    DrawnConfig | JsonDatasetConfig | OpenImagesConfig, Field(discriminator="kind")
]


class MixturePartConfig(Section):
    """One of the data sets of a mixture."""

    dataset: SingleDatasetConfig
    weight: PositiveFloat | None = None
    """Share of the training stream, in proportion to the weights of the others; null in all parts
    gives every image its turn, as if they were one data set."""

    names: dict[str, str | None] = Field(default={})
    """Class name of this part -> that of the first part, where the two differ; null leaves the
    objects of a class out."""


class MixtureConfig(Section):
    """Training on several data sets at once; the first gives classes and validation split."""

    kind: Literal["mixture"]
    parts: tuple[MixturePartConfig, ...] = Field(min_length=2)
    """The first and those that are added to it; classes meet by name."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = [part.weight is not None for part in self.parts]
        if any(given) and not all(given):
            raise ValueError("`weight` must be set in all `parts` or in none")
        if self.parts[0].names:
            raise ValueError("`names` of the first of `parts` must be empty: it gives the classes")
        if isinstance(self.parts[0].dataset, OpenImagesConfig):
            raise ValueError(
                "the first of `parts` gives the validation split and cannot be of kind openimages; "
                "put a data set of kind lvis or coco first"
            )
        return self


DatasetConfig = Annotated[
    DrawnConfig | JsonDatasetConfig | OpenImagesConfig | MixtureConfig,
    Field(discriminator="kind"),
]


class DataConfig(Section):
    """Data set, changes to images, order of images, loading."""

    dataset: DatasetConfig = DrawnConfig()
    group_thresholds: tuple[PositiveInt, PositiveInt] = (10, 100)
    """At most this many training images: rare, common. Used where a file has no `frequency`."""

    train_transforms: TransformsConfig = TransformsConfig()
    val_transforms: TransformsConfig = TransformsConfig()
    sampler: SamplerConfig = RandomSamplerConfig()
    aspect_grouping: bool = False
    """Put landscape images with landscape ones and portrait with portrait into a batch."""

    workers: int = Field(default=2, ge=0)
    """Loader processes per training process; 0 loads in the training process itself."""

    prefetch_batches: PositiveInt = 2
    """Batches that each loader process makes ahead; more even out slow disks and cost memory."""

    decode_short_side: PositiveInt | None = None
    """Decode large JPEG files at 1/2, 1/4 or 1/8 of their size while the shorter side keeps so many
    pixels: much faster on photographs of several megapixels, at slightly other pixel values. null
    decodes whole images."""

    exif: Literal["as_annotated", "obey", "ignore"] = "as_annotated"
    """Whether a camera's orientation mark turns an image: only where that gives the annotated size;
    always (annotations made on what viewers show); never (made on the pixels as stored)."""

    pad_to_multiple_of: PositiveInt = 32
    """Height and width of a batch are padded to a multiple of this."""

    cache_annotations: bool | Path = True
    """Keep what is read from annotation files of 50 MB or more, to open it at once the next time:
    true in the user's cache folder, a path in that folder (`runs/annotations`, beside the runs)."""

    cache_images_mb: int = Field(default=0, ge=0)
    """Keep decoded images in memory, in each loader process, if all of a split fit into so many
    MiB; 0 reads every image anew."""

    max_objects_per_image: PositiveInt | None = None
    """More objects than this in a training image: a random subset is used, and it is counted."""

    ignore_crowds: bool = True
    """Priors of which half or more lies in a crowd region (`iscrowd`, or a group-of box under
    `group_of: ignore`) do not learn that nothing is there. false: regions are background."""

    train_empty_images: Literal["keep", "drop"] = "keep"
    """Training images in which nothing is annotated, not even a crowd, are background, or they are
    left out, as in most published runs on LVIS. Validation has all images."""

    drop_invalid_boxes: bool = False
    """Leave boxes without area or outside their image out, instead of stopping."""

    on_bad_image: Literal["error", "skip"] = "error"
    """A missing or unreadable image stops the run, or is skipped, counted and listed."""

    @model_validator(mode="after")
    def _decodes_enough(self) -> Self:
        shorts = [
            short
            for section in (self.train_transforms, self.val_transforms)
            if isinstance(section.resize, ResizeConfig)
            for short in section.resize.short
        ]
        if self.decode_short_side is not None and self.decode_short_side < max(shorts, default=0):
            raise ValueError(
                f"`decode_short_side` {self.decode_short_side} is less than the shorter side that "
                f"`resize` asks for, {max(shorts)}: images would be enlarged again; set it to "
                f"{max(shorts)} or more, or to null"
            )
        return self

    @model_validator(mode="after")
    def _thresholds_rise(self) -> Self:
        if self.group_thresholds[0] >= self.group_thresholds[1]:
            raise ValueError(f"`group_thresholds` must rise, got {list(self.group_thresholds)}")
        val = self.val_transforms
        if val != TransformsConfig(resize=val.resize) or isinstance(
            val.resize, LargeScaleJitterConfig
        ):
            raise ValueError(
                "`val_transforms` may only set `resize` (short_side or long_side); validation is "
                "not augmented"
            )
        return self
