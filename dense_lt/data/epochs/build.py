"""Sampler section -> what an epoch holds."""

from __future__ import annotations

from typing import assert_never

import numpy as np

from dense_lt.config.sampling import (
    ClassAwareSamplerConfig,
    RandomSamplerConfig,
    RepeatFactorSamplerConfig,
    SamplerConfig,
    SquareRootSamplerConfig,
)
from dense_lt.data.epochs.base import Epochs
from dense_lt.data.epochs.by_class import ClassAware, PowerOfCount, images_by_class
from dense_lt.data.epochs.repeated import RepeatedImages, repeat_factors
from dense_lt.data.table import AnnotationTable
from dense_lt.utils.errors import DataError


def build_epochs(
    config: SamplerConfig, table: AnnotationTable, num_classes: int, *, seed: int
) -> Epochs:
    """What an epoch holds of the images of `table`.

    Raises:
        DataError: classes are to be drawn, but no image has an object.
    """
    match config:
        case RandomSamplerConfig():
            return RepeatedImages(np.ones(len(table)), rounding="round", seed=seed)
        case RepeatFactorSamplerConfig():
            factors = repeat_factors(
                table,
                num_classes,
                threshold=config.threshold,
                exponent=config.exponent,
                instance_aware=config.kind == "instance_aware_repeat_factor",
            )
            return RepeatedImages(factors, rounding=config.rounding, seed=seed)
        case ClassAwareSamplerConfig() | SquareRootSamplerConfig():
            lists = images_by_class(table, num_classes)
            if not len(lists.values):
                raise DataError(
                    f"{table.source}: data.sampler.kind={config.kind} draws classes, but no image "
                    "has an object; check the annotations, or set data.sampler.kind=random"
                )
            if isinstance(config, ClassAwareSamplerConfig):
                return ClassAware(lists, len(table), seed=seed)
            return PowerOfCount(lists, len(table), exponent=config.exponent, seed=seed)
        case _:
            assert_never(config)
