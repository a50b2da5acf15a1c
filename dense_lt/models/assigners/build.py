"""Assigner section -> assigner."""

from __future__ import annotations

from typing import assert_never

from dense_lt.config import assigners as settings
from dense_lt.models.assigners.atss import AtssAssigner
from dense_lt.models.assigners.base import Assigner
from dense_lt.models.assigners.center import CenterAssigner
from dense_lt.models.assigners.forecast import PredictionAssigner
from dense_lt.models.assigners.max_iou import MaxIoUAssigner
from dense_lt.models.assigners.paa import PaaAssigner
from dense_lt.models.assigners.simota import SimOtaAssigner
from dense_lt.models.assigners.task_aligned import TaskAlignedAssigner


def build_assigner(config: settings.AssignerConfig) -> Assigner | PredictionAssigner:
    """The assigner that `config` describes."""
    match config:
        case settings.AtssConfig():
            return AtssAssigner(top_k=config.top_k, legacy=config.coordinates == "legacy")
        case settings.MaxIoUConfig():
            return MaxIoUAssigner(**config.model_dump(exclude={"kind"}))
        case settings.CenterConfig():
            return CenterAssigner(radius=config.radius, size_limits=config.size_limits)
        case settings.PaaConfig():
            return PaaAssigner(**config.model_dump(exclude={"kind"}))
        case settings.SimOtaConfig():
            return SimOtaAssigner(**config.model_dump(exclude={"kind"}))
        case settings.TaskAlignedConfig():
            return TaskAlignedAssigner(**config.model_dump(exclude={"kind"}))
        case _:
            assert_never(config)
