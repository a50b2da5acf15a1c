"""Settings of the two-stage detector: proposals, regions, heads, post-processing."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag, model_validator

from dense_lt.config.box_losses import SampledBoxLossConfig
from dense_lt.config.model import BackboneConfig
from dense_lt.config.proposals import L1, DenseProposalsConfig, ProposalNetworkConfig
from dense_lt.config.pyramids import PyramidConfig
from dense_lt.config.region_losses import RegionLossConfig, SoftmaxLossConfig
from dense_lt.config.section import Section
from dense_lt.config.semantic import SemanticConfig
from dense_lt.config.start import DetectorSection


class RegionsConfig(Section):
    """Which proposals the heads learn from."""

    positive_iou: float = Field(default=0.5, gt=0, le=1)
    """From this IoU on a proposal learns its object, below it background. A cascade has
    `cascade.ious` instead."""

    low_quality: bool = True
    """The best proposals of each object are positive however small their IoU is. With
    `add_ground_truth` the object itself is the best one, and this changes next to nothing."""

    samples: PositiveInt = 512
    """Regions per image that learn."""

    positive_fraction: float = Field(default=0.25, gt=0, le=1)
    """Largest share of positives among them."""

    add_ground_truth: bool = True
    """The objects themselves are proposals too."""


class RegionPoolConfig(Section):
    """RoIAlign (He et al. 2017) on the level that fits the size of each region."""

    levels: tuple[int, int] | None = None
    """First and last pyramid level that is pooled; null takes those that the backbone has too."""

    box_size: PositiveInt = 7
    """Cells a side for the box head."""

    mask_size: PositiveInt = 14
    """Cells a side for the mask head."""

    sampling_ratio: int = Field(default=0, ge=0)
    """Points per cell and axis; 0 takes as many as the cell has pixels (published)."""

    aligned: bool = True
    """Shift by half a pixel, so that pooling is exact; torchvision's weights were made without."""

    canonical_size: PositiveFloat = 224.0
    """Side of a region that is pooled from `canonical_level` on, in pixels."""

    canonical_level: int = Field(default=4, ge=1)
    """That level; from half the side on it is the level below, and so on."""


class BoxHeadConfig(Section):
    """Fully connected layers, then classes and boxes."""

    channels: PositiveInt = 1024
    """Outputs of each fully connected layer."""

    num_layers: int = Field(default=2, ge=0)
    """Fully connected layers before the predictors."""

    initialization: Literal["xavier", "torch"] = "xavier"
    """Of the fully connected layers: `xavier` (published), or torch's own smaller one, which is
    also torchvision's."""

    class_agnostic: bool = False
    """One box per region instead of one per class."""

    deviations: tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat] = (
        0.1,
        0.1,
        0.2,
        0.2,
    )
    """Units of the four box codes."""

    prior_probability: float | None = Field(default=None, gt=0, lt=1)
    """Score of every class before training (the classifier's bias) under a loss that has one
    sigmoid per class; null leaves the bias at 0."""

    objectness_probability: float | None = Field(default=None, gt=0, lt=1)
    """What the logit for "no object" says before training, where there is one; null is one half."""

    classifier: Literal["linear", "normalized", "scaled"] = "linear"
    """`normalized`: cosine between features and class weights, both to the power of one.
    `scaled`: a learnt factor on the weights of each logit (LWS; see docs/decoupled.md)."""

    temperature: PositiveFloat = 20.0
    """Factor on the cosine of a `normalized` classifier."""

    tau: float = Field(default=0.0, ge=0)
    """In evaluation the weights of each class are divided by their norm to this power
    (tau-normalisation); 0 leaves them."""

    @model_validator(mode="after")
    def _weights_have_a_norm(self) -> Self:
        if self.tau and self.classifier == "normalized":
            raise ValueError(
                f"`tau` is {self.tau:g} but a `normalized` classifier ignores the norm of its "
                "weights; set `tau` to 0"
            )
        return self


class MaskHeadConfig(Section):
    """Mask head (He et al. 2017): needs annotations with segmentations."""

    channels: PositiveInt = 256
    """Channels of every convolution."""

    num_convs: int = Field(default=4, ge=0)
    """Convolutions before the upsampling."""

    class_agnostic: bool = False
    """One mask per region instead of one per class."""

    predictor: Literal["linear", "normalized"] = "linear"
    """`normalized`: cosine between features and class weights (Wang et al. 2021)."""

    temperature: PositiveFloat = 20.0
    """Factor on the cosine of a `normalized` predictor."""

    weight: float = Field(default=1.0, gt=0)
    """Factor on its loss in the total."""


class CascadeConfig(Section):
    """Box heads in a row, each on the boxes of the one before (Cai and Vasconcelos 2018; HTC)."""

    ious: tuple[float, ...] = Field(default=(0.5, 0.6, 0.7), min_length=2)
    """Of each stage: from this IoU with an object on a region is positive."""

    weights: tuple[PositiveFloat, ...] = (1.0, 0.5, 0.25)
    """Of each stage: factor on its losses."""

    deviations: tuple[tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat], ...] = (
        (0.1, 0.1, 0.2, 0.2),
        (0.05, 0.05, 0.1, 0.1),
        (0.033, 0.033, 0.067, 0.067),
    )
    """Of each stage: units of the four box codes; instead of `head.deviations`."""

    interleaved: bool = False
    """A mask branch learns from boxes that its own stage has refined (HTC; Chen et al. 2019)."""

    mask_flow: bool = False
    """Features of a mask head add to those of the next stage's (HTC)."""

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        lengths = {len(self.ious), len(self.weights), len(self.deviations)}
        if len(lengths) > 1:
            raise ValueError(
                f"`ious` has {len(self.ious)} entries, `weights` {len(self.weights)} and "
                f"`deviations` {len(self.deviations)}; give one for each stage"
            )
        if not all(0 < iou <= 1 for iou in self.ious):
            raise ValueError(f"`ious` must lie within (0, 1], got {list(self.ious)}")
        return self


class RegionInferenceConfig(Section):
    """From region outputs to detections."""

    score_threshold: float = Field(default=1e-4, ge=0, lt=1)
    """Only scores above it are kept, before everything else."""

    nms_iou: float = Field(default=0.5, gt=0, le=1)
    """A box that overlaps a better one of its class by more than this is dropped."""

    max_detections: PositiveInt = 300
    """Detections kept per image, over all classes."""

    proposal_scores: bool | None = None
    """A score is the root of that of the class times that of the proposal (Zhou et al. 2021). null:
    as published, with dense proposals but not with a region proposal network."""


def _proposal_kind(given: Any) -> str | None:
    return given.get("kind", "rpn") if isinstance(given, dict) else getattr(given, "kind", None)


class TwoStageConfig(DetectorSection):
    """Faster or Mask R-CNN on any timm backbone, with the defaults published for LVIS."""

    kind: Literal["two_stage"]
    backbone: BackboneConfig = BackboneConfig()
    pyramid: PyramidConfig = PyramidConfig(levels=(2, 6), backbone_levels=(2, 5), above="max_pool")
    proposals: Annotated[
        Annotated[ProposalNetworkConfig, Tag("rpn")]
        | Annotated[DenseProposalsConfig, Tag("dense")],
        Discriminator(_proposal_kind),
    ] = ProposalNetworkConfig()
    regions: RegionsConfig = RegionsConfig()
    pool: RegionPoolConfig = RegionPoolConfig()
    head: BoxHeadConfig = BoxHeadConfig()
    loss: RegionLossConfig = SoftmaxLossConfig()
    box_loss: SampledBoxLossConfig = L1
    mask: MaskHeadConfig | None = None
    """Predict masks too (Mask R-CNN); null does not."""

    cascade: CascadeConfig | None = None
    """Several box heads in a row (Cascade R-CNN, HTC); null has one."""

    semantic: SemanticConfig | None = None
    """A semantic map beside the pyramid (HTC); null has none. Needs `cascade` and `mask`."""

    inference: RegionInferenceConfig = RegionInferenceConfig()

    @property
    def pooled_levels(self) -> tuple[int, int]:
        """First and last level that regions are pooled from."""
        first, last = self.pyramid.backbone_levels
        return self.pool.levels or (first, min(last, self.pyramid.levels[1]))

    @model_validator(mode="after")
    def _stages_have_their_own_ious(self) -> Self:
        # 0.5, the default, stands in every stored configuration
        iou = self.regions.positive_iou
        if self.cascade is not None and iou not in (0.5, self.cascade.ious[0]):
            raise ValueError(
                f"`regions.positive_iou` is {iou:g} but each stage of a cascade has its own; set "
                "`cascade.ious`"
            )
        return self

    @model_validator(mode="after")
    def _masks_flow(self) -> Self:
        if self.cascade is None or not (self.cascade.interleaved or self.cascade.mask_flow):
            return self
        if self.mask is None:
            raise ValueError(
                "`cascade.interleaved` and `cascade.mask_flow` are about masks; set `mask`, or "
                "leave them out"
            )
        return self

    @model_validator(mode="after")
    def _semantic_map_is_learnt(self) -> Self:
        if self.semantic is None:
            return self
        if self.cascade is None or self.mask is None:
            raise ValueError(
                "`semantic` belongs to a cascade with masks: its map adds to the features of every "
                "stage, and learns from the outlines of objects; set `cascade` and `mask`, or "
                "`semantic: null`"
            )
        first, last = self.pyramid.levels
        if not first <= self.semantic.level <= last:
            raise ValueError(
                f"`semantic.level` is {self.semantic.level} but `pyramid.levels` is "
                f"[{first}, {last}]; name one of them"
            )
        return self

    @model_validator(mode="after")
    def _levels_exist(self) -> Self:
        first, last = self.pyramid.levels
        for name, levels in (("proposals", self.proposals.levels), ("pool", self.pool.levels)):
            if levels is not None and not first <= levels[0] <= levels[1] <= last:
                raise ValueError(
                    f"`{name}.levels` is {list(levels)} but `pyramid.levels` is [{first}, {last}]; "
                    "name the first and the last level, within those of the pyramid"
                )
        if isinstance(self.proposals, DenseProposalsConfig):
            first, last = self.proposals.levels or self.pyramid.levels
            self.proposals.check_levels(last - first + 1, "proposals.levels")
        return self
