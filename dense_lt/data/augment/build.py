"""Transforms section -> what mixes, resizes and changes images."""

from __future__ import annotations

import logging
from typing import assert_never

from dense_lt.config.transforms import (
    AffineConfig,
    CopyPasteConfig,
    LargeScaleJitterConfig,
    LongSideConfig,
    MixupConfig,
    ResizeConfig,
    TransformsConfig,
)
from dense_lt.data.augment.affine import RandomAffine
from dense_lt.data.augment.copy_paste import CopyPaste
from dense_lt.data.augment.instances import InstanceSampler
from dense_lt.data.augment.mixing import Mixing
from dense_lt.data.augment.mixup import Mixup
from dense_lt.data.augment.resizing import LargeScaleJitter, LongSide
from dense_lt.data.table import AnnotationTable
from dense_lt.data.transforms import Resizer, ShortSide, Transform

logger = logging.getLogger(__name__)


def build_transform(config: TransformsConfig) -> Transform:
    """What is done to each sample, after mixing.

    Raises:
        ConfigError: an albumentations transform does not exist or refuses its arguments.
    """
    extra: list[tuple[str, dict[str, object]]] = []
    if config.color:
        strength = 0.4 * config.color
        jitter = dict.fromkeys(("brightness", "contrast", "saturation"), strength)
        extra.append(("ColorJitter", {**jitter, "hue": strength / 8, "p": 1.0}))
    extra += [(transform.name, transform.arguments) for transform in config.extra]
    return Transform(
        resizer=_build_resizer(config),
        horizontal_flip=config.horizontal_flip,
        vertical_flip=config.vertical_flip,
        transpose=config.transpose,
        hsv=(hsv.hue, hsv.saturation, hsv.value) if (hsv := config.hsv) else None,
        extra=extra,
    )


def needs_outlines(config: TransformsConfig) -> bool:
    """Whether mixing needs the objects' outlines, be they learnt or not."""
    return config.copy_paste is not None and config.copy_paste.shape == "mask"


def build_mixing(
    config: TransformsConfig, table: AnnotationTable, num_classes: int, *, outlines: bool
) -> Mixing | None:
    """What makes one sample of several; None if nothing does.

    Args:
        config: transforms section.
        table: annotations of the split.
        num_classes: C.
        outlines: whether outlines are learnt.

    Raises:
        DataError: there is nothing to paste.
    """
    if not _mixes(config):
        return None
    mosaic, affine, mixup, paste = config.mosaic, config.affine, config.mixup, config.copy_paste
    return Mixing(
        mosaic_size=mosaic.size if mosaic else None,
        mosaic_chance=mosaic.probability if mosaic else 0.0,
        affine=_build_affine(affine) if affine else None,
        affine_chance=affine.probability if affine else 0.0,
        mixup=_build_mixup(mixup) if mixup else None,
        mixup_chance=mixup.probability if mixup else 0.0,
        copy_paste=_build_copy_paste(paste, table, num_classes) if paste else None,
        copy_paste_chance=paste.probability if paste else 0.0,
        fill=config.fill,
        outlines=outlines,
    )


def mixed_until(config: TransformsConfig, epoch: float, samples: int | None) -> float:
    """Position in the stream of samples from which on images are no longer mixed.

    Args:
        config: transforms section.
        epoch: samples of one, on average.
        samples: of the whole run; None where it is not known.
    """
    if samples is None or not config.unmixed_last_epochs or not _mixes(config):
        return float("inf")
    until = samples - config.unmixed_last_epochs * epoch
    if until > 0:
        logger.info("images are mixed up to sample %d of %d", until, samples)
    else:
        logger.warning(
            "unmixed_last_epochs of data.train_transforms is %g, but the run has only %.3g epochs: "
            "images are never mixed; lower it or train longer",
            config.unmixed_last_epochs,
            samples / epoch,
        )
    return until


def _build_affine(config: AffineConfig) -> RandomAffine:
    return RandomAffine(config.degrees, config.translate, config.scale, config.shear)


def _build_mixup(config: MixupConfig) -> Mixup:
    return Mixup(config.scale, config.flip)


def _build_copy_paste(
    config: CopyPasteConfig, table: AnnotationTable, num_classes: int
) -> CopyPaste:
    outlined = config.shape == "mask"
    instances = InstanceSampler(
        table, num_classes, rule=config.rule, threshold=config.threshold, outlined=outlined
    )
    return CopyPaste(
        instances,
        images=config.images,
        companions=config.companions,
        scale=config.scale,
        flip=config.flip,
        outlined=outlined,
        min_visible=config.min_visible,
    )


def _build_resizer(config: TransformsConfig) -> Resizer | None:
    match config.resize:
        case None:
            return None
        case ResizeConfig(short=short, long=long):
            return ShortSide(short, long)
        case LongSideConfig(sizes=sizes, per=per):
            return LongSide(sizes, per_step=per == "step")
        case LargeScaleJitterConfig(size=size, scales=scales):
            return LargeScaleJitter(size, scales, fill=config.fill)
        case _:
            assert_never(config.resize)


def _mixes(config: TransformsConfig) -> bool:
    return any((config.mosaic, config.affine, config.mixup, config.copy_paste))
