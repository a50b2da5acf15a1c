"""Settings of the average of weights."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from dense_lt.config.section import Section


class WeightAverageConfig(Section):
    """Exponential moving average of the weights, which is what is evaluated and saved (YOLOX)."""

    decay: float = Field(default=0.9998, gt=0, lt=1)
    """Share of the average that stays at every optimizer step, late in training."""

    warmup: PositiveInt = 2000
    """Steps s of the beginning, in which less stays: decay x (1 - exp(-step / s))."""
