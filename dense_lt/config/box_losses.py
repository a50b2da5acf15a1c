"""Settings of what a wrongly placed box costs, and of the branch that rates boxes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from dense_lt.config.section import Section

Weighting = Literal["none", "iou", "centerness"]


class _BoxLossConfig(Section):
    """What all box losses have in common."""

    weight: float = Field(default=1.0, gt=0)
    """Factor on this loss in the total."""

    weighting: Weighting = "none"
    """What a positive counts: `none`: all the same; `iou`: by the IoU of its prediction, as in the
    improved baseline (Li et al. 2022); `centerness`: by how near its prior is to the middle of its
    object, as in the authors' code of FCOS and ATSS."""

    divide_by: Literal["weights", "positives"] = "weights"
    """Divide the weighted sum by the sum of the weights, or by the number of positives."""

    @model_validator(mode="before")
    @classmethod
    def _earlier_name(cls, given: Any) -> Any:
        """Runs of the first version have stored `iou_weighted`, true or false."""
        if not isinstance(given, dict) or "weighting" in given or "iou_weighted" not in given:
            return given
        weighted = given["iou_weighted"]
        rest = {key: value for key, value in given.items() if key != "iou_weighted"}
        return {**rest, "weighting": "iou" if weighted else "none"}


class GIoULossConfig(_BoxLossConfig):
    """Generalised IoU on decoded boxes (Rezatofighi et al. 2019)."""

    kind: Literal["giou"] = "giou"
    weighting: Weighting = "iou"
    """What a positive counts: `none`: all the same; `iou`: by the IoU of its prediction, as in the
    improved baseline (Li et al. 2022); `centerness`: by how near its prior is to the middle of its
    object, as in the authors' code of FCOS and ATSS."""

    l1_weight: float = Field(default=0.0, ge=0)
    """Factor on the L1 distance of the four box codes, summed, that is added (YOLOX); it is never
    weighted."""


class SmoothL1LossConfig(_BoxLossConfig):
    """Smooth L1 on the four box codes, summed (Girshick 2015), as in RetinaNet."""

    kind: Literal["smooth_l1"]
    beta: float = Field(default=0.11, ge=0)
    """Quadratic below this difference, linear above it; 0 is L1. Detectron's RetinaNet has 0.11."""


class SampledBoxLossConfig(SmoothL1LossConfig):
    """Smooth L1 on the boxes of a two-stage detector, divided by the number of all samples.

    Those are regions or anchors, positives and background; positives all weigh the same.
    """

    @model_validator(mode="after")
    def _mean_over_samples(self) -> Self:
        if self.weighting != "none" or self.divide_by != "weights":
            raise ValueError(
                "boxes of regions and anchors all weigh the same and are divided by the number of "
                f"samples, got `weighting: {self.weighting}`, `divide_by: {self.divide_by}`; leave "
                "both out"
            )
        return self


BoxLossConfig = Annotated[GIoULossConfig | SmoothL1LossConfig, Field(discriminator="kind")]


class QualityLossConfig(Section):
    """Binary cross-entropy of the quality branch (`head.quality`) against what it predicts."""

    target: Literal["iou", "centerness"] = "iou"
    """`iou`: of the predicted box with its object; `centerness`: how near the prior's centre is to
    the middle of its object (Tian et al. 2019)."""

    weight: float = Field(default=1.0, gt=0)
    """Factor on this loss in the total."""
