"""Settings of the trackers that numbers go to beside the run folder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dense_lt.config.section import Section

TrackerName = Literal["tensorboard", "wandb", "mlflow"]


class WandbConfig(Section):
    """Weights & Biases."""

    project: str = Field(default="dense_lt", min_length=1)
    """Project that the run belongs to."""

    entity: str | None = None
    """User or team; null takes the one of the login."""

    mode: Literal["offline", "online"] = "offline"
    """offline: into the run folder, for `wandb sync`; online: to the server, with your login."""


class MlflowConfig(Section):
    """MLflow."""

    experiment: str = Field(default="dense_lt", min_length=1)
    """Experiment that the run belongs to."""

    uri: str | None = None
    """Where it tracks, such as `http://localhost:5000`; null: `mlflow.db` in folder `output`."""
