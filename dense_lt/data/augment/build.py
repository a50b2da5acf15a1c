"""Transforms section -> what resizes and mixes images."""

from __future__ import annotations

from typing import assert_never

from dense_lt.config.transforms import (
    LargeScaleJitterConfig,
    LetterboxConfig,
    ResizeConfig,
    TransformsConfig,
)
from dense_lt.data.augment.resizing import LargeScaleJitter, Letterbox
from dense_lt.data.transforms import Resizer, ShortSide


def build_resizer(config: TransformsConfig) -> Resizer | None:
    """What brings images to the size of the input; None keeps theirs."""
    match config.resize:
        case None:
            return None
        case ResizeConfig(short=short, long=long):
            return ShortSide(short, long)
        case LetterboxConfig(sizes=sizes, per=per):
            return Letterbox(sizes, per_step=per == "step", fill=config.fill)
        case LargeScaleJitterConfig(size=size, scales=scales):
            return LargeScaleJitter(size, scales, fill=config.fill)
        case _:
            assert_never(config.resize)
