"""Settings of what proposes regions: a region proposal network, or a dense detector."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from dense_lt.config.box_losses import SampledBoxLossConfig
from dense_lt.config.frequency_losses import FrequencyLossConfig
from dense_lt.config.model import AnchorsConfig, DenseNetworkConfig, InferenceConfig
from dense_lt.config.section import Section

L1 = SampledBoxLossConfig(kind="smooth_l1", beta=0.0)
"""On box codes, as published for LVIS."""


class ProposalAnchorsConfig(AnchorsConfig):
    """Anchors of the region proposal network."""

    scales: tuple[PositiveFloat, ...] = Field(default=(8.0,), min_length=1)
    """Side of a square anchor, in strides of its level."""

    ratios: tuple[PositiveFloat, ...] = Field(default=(0.5, 1.0, 2.0), min_length=1)
    """Height / width at constant area."""

    center: Literal["middle", "corner"] = "corner"
    """Centre of a cell's anchors: its top left corner (published), or its middle."""

    torchvision: bool = False
    """Round sides to whole pixels and strides to what fits into the image, as torchvision does:
    for weights from there."""

    @model_validator(mode="after")
    def _scales_only(self) -> Self:
        if self.sizes is not None:
            raise ValueError("`sizes` is for one anchor a location; give `scales`, in strides")
        return self


class ProposalLimitsConfig(Section):
    """How many proposals an image keeps."""

    pre_nms_top_k: PositiveInt = 1000
    """Best anchors kept per level before suppression."""

    proposals: PositiveInt = 1000
    """Proposals kept per image after it, over all levels."""


class ProposalNetworkConfig(Section):
    """Region proposal network (Ren et al. 2015): the dense parts with one class."""

    kind: Literal["rpn"] = "rpn"
    levels: tuple[int, int] | None = None
    """First and last pyramid level with anchors; null takes all."""

    anchors: ProposalAnchorsConfig = ProposalAnchorsConfig()
    channels: PositiveInt | None = None
    """Channels of the convolution before the predictors; null takes the pyramid's."""

    positive_iou: float = Field(default=0.7, gt=0, le=1)
    """From this IoU with an object on an anchor is positive; so are the best of each object."""

    background_iou: float = Field(default=0.3, ge=0, le=1)
    """Below this IoU an anchor is background; between the two it learns nothing."""

    samples: PositiveInt = 256
    """Anchors per image that learn."""

    positive_fraction: float = Field(default=0.5, ge=0, le=1)
    """Largest share of positives among them."""

    box_loss: SampledBoxLossConfig = L1
    nms_iou: float = Field(default=0.7, gt=0, le=1)
    """A proposal that overlaps a better one of its level by more than this is dropped."""

    train: ProposalLimitsConfig = ProposalLimitsConfig(pre_nms_top_k=2000)
    test: ProposalLimitsConfig = ProposalLimitsConfig()

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> Self:
        if self.background_iou > self.positive_iou:
            raise ValueError(
                f"`background_iou` {self.background_iou} must not be above `positive_iou` "
                f"{self.positive_iou}"
            )
        return self


class DenseProposalsConfig(DenseNetworkConfig):
    """A one-stage detector of one class in place of the proposal network (Zhou et al. 2021).

    Its settings are those of `kind: one_stage`, but for backbone and pyramid, which it shares.
    """

    kind: Literal["dense"]
    levels: tuple[int, int] | None = None
    """First and last pyramid level that it sees; null takes all."""

    inference: InferenceConfig = InferenceConfig(
        pre_nms_top_k=1000, nms_iou=0.7, max_detections=1000
    )
    """`max_detections` proposals of an image stay, in training too."""

    @model_validator(mode="after")
    def _one_class(self) -> Self:
        if isinstance(self.loss, FrequencyLossConfig):
            raise ValueError(
                f"`loss.kind: {self.loss.kind}` looks at how often classes occur, but proposals "
                "have one class for all objects; take another, such as focal"
            )
        if self.loss.federated:
            raise ValueError(
                "`loss.federated: true` is about the classes of an image, but proposals have one "
                "class for all objects; set it to false"
            )
        return self

    @model_validator(mode="after")
    def _logits_are_made(self) -> Self:
        if self.head.fused_loss is True:
            raise ValueError(
                "`head.fused_loss: true` never makes the logits, by which proposals are chosen; "
                "set it to auto or false"
            )
        return self
