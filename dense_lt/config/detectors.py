"""The kinds of detector that `model.kind` names."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dense_lt.config.model import OneStageConfig
from dense_lt.config.two_stage import TwoStageConfig

ModelConfig = Annotated[OneStageConfig | TwoStageConfig, Field(discriminator="kind")]
