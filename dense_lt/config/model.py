"""Settings of the model: backbone, pyramid, priors, head, assigner, losses, post-processing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag, model_validator

from dense_lt.config.assigners import READS_PREDICTIONS, AssignerConfig, AtssConfig
from dense_lt.config.box_losses import BoxLossConfig, GIoULossConfig, QualityLossConfig
from dense_lt.config.heads import DenseHeadConfig
from dense_lt.config.losses import ClassificationLossConfig, FocalLossConfig
from dense_lt.config.pyramids import PathAggregationConfig, PyramidConfig
from dense_lt.config.section import Section
from dense_lt.config.start import DetectorSection

_FCOS = "; configs/_base/head_fcos.yaml, named last in `base`, sets all that FCOS needs"

_OPTIONS_OF_OURS = {
    "features_only": "feature maps are always asked for; leave it out",
    "out_indices": "which maps are used is what `pyramid.backbone_levels` says; set that",
    "pretrained": "set `backbone.pretrained`",
    "checkpoint_path": "set `backbone.weights`",
}
"""Arguments of `timm.create_model` that other settings stand for, and which."""


class BackboneConfig(Section):
    """A timm model that gives feature maps.

    Another `name` forgets what belongs to the old one: `options`, `weights`, `mean`, `std`.
    """

    choice: ClassVar[str] = "name"
    kept_by_every_choice: ClassVar[frozenset[str]] = frozenset(
        {"pretrained", "frozen_stages", "norm"}
    )

    name: str = "resnet50"
    """Any timm model with `features_only`; `dense-lt backbones` lists them. Or YOLOX's own, from
    scratch: csp_darknet_s, _m, _l, _x (`options`: depth, width)."""

    pretrained: bool = False
    """Load timm's pretrained weights (from its cache, or the network where there is one)."""

    weights: Path | None = None
    """Local file (.safetensors, .pth) with weights of this timm model; instead of `pretrained`."""

    frozen_stages: int = Field(default=0, ge=0, le=5)
    """Stages that do not train, where a stage ends with a feature map: 0 none; in a ResNet 1 the
    stem, 2 the stem and the first stage; in a ConvNeXt or a Swin, whose stem gives no map, 1 the
    stem and the first stage, 2 the stem and two stages; ..."""

    norm: Literal["train", "frozen", "fixed_statistics", "group"] = "train"
    """`train`: as timm makes it; `frozen`: nothing of it changes; `fixed_statistics`: scale and
    shift train, mean and variance stay (as in EFL's code); `group`: GroupNorm instead."""

    mean: tuple[float, float, float] | None = None
    """Mean of RGB in [0, 1] that is subtracted; null takes timm's for this model."""

    std: tuple[float, float, float] | None = None
    """Standard deviation of RGB in [0, 1] that is divided by; null takes timm's for this model."""

    options: dict[str, object] = Field(default={})
    """Further keyword arguments of `timm.create_model`, such as `layers: [1, 1, 1, 1]`."""

    @model_validator(mode="after")
    def _one_source_of_weights(self) -> Self:
        if self.pretrained and self.weights is not None:
            raise ValueError("`pretrained: true` and `weights` exclude each other; set one of them")
        if self.name.startswith("csp_darknet") and (
            self.pretrained or self.weights is not None or self.norm != "train"
        ):
            raise ValueError(
                f"{self.name} has no pretrained weights and trains its norms; set `pretrained: "
                "false`, `weights: null` and `norm: train`"
            )
        return self

    @model_validator(mode="after")
    def _options_leave_ours_alone(self) -> Self:
        for name in self.options.keys() & _OPTIONS_OF_OURS.keys():
            raise ValueError(f"`options` cannot have `{name}`: {_OPTIONS_OF_OURS[name]}")
        return self

    @model_validator(mode="after")
    def _pixels_are_in_0_to_1(self) -> Self:
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("`std` must be above 0 in every channel")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and max(values) > 1:
                raise ValueError(
                    f"`{name}` is of RGB in [0, 1], got {list(values)}; divide by 255 what was "
                    "made for pixels of 0 to 255"
                )
        return self


class AnchorsConfig(Section):
    """Square or oblong boxes at every location; sizes follow from the strides."""

    scales: tuple[PositiveFloat, ...] = Field(default=(6.0, 8.0), min_length=1)
    """Side of a square anchor, in strides of its level."""

    ratios: tuple[PositiveFloat, ...] = Field(default=(1.0,), min_length=1)
    """Height / width at constant area."""

    sizes: tuple[PositiveFloat, ...] | None = None
    """Instead of `scales`: side in pixels, one per level."""

    center: Literal["middle", "corner"] = "middle"
    """Centre of a cell's anchors: the middle of the cell, or its top left corner."""

    @property
    def num_per_location(self) -> int:
        """A."""
        return len(self.ratios) * (len(self.scales) if self.sizes is None else 1)


class InferenceConfig(Section):
    """From raw outputs to detections."""

    score_threshold: float = Field(default=0.0, ge=0, lt=1)
    """Only scores above it are kept, before everything else."""

    pre_nms_top_k: PositiveInt = 6000
    """Best (prior, class) pairs kept per level, before boxes are decoded."""

    pre_nms_at_most_priors: bool = False
    """Keep no more pairs of a level than it has priors, as the code of EFL does: its coarse levels
    have a few hundred."""

    nms_iou: float = Field(default=0.5, gt=0, le=1)
    """A box that overlaps a better one of its class by more than this is dropped."""

    max_detections: PositiveInt = 300
    """Detections kept per image, over all classes."""

    score_voting: PositiveFloat | None = None
    """Move every box to the mean of those of its class that overlap it, weighted by score (by its
    root, where it is class times quality) and by exp(-(1 - IoU)^2 / this number), as in PAA
    (0.025); null leaves the boxes."""


class DenseNetworkConfig(Section):
    """What finds boxes on the maps of a pyramid: priors, assigner, head, losses, selection."""

    priors: AnchorsConfig = AnchorsConfig()
    assigner: AssignerConfig = AtssConfig()
    box_coder: Literal["delta", "distance"] = "delta"
    """`delta`: centre shift and log size; `distance`: exp distances to the four sides."""

    box_deviations: tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    """Standard deviations that `delta` codes are divided by; null: 1. [0.1, 0.1, 0.2, 0.2] in
    ATSS and in two-stage detectors."""

    head: DenseHeadConfig = DenseHeadConfig()
    loss: ClassificationLossConfig = FocalLossConfig()
    box_loss: BoxLossConfig = GIoULossConfig()
    quality_loss: QualityLossConfig = QualityLossConfig()
    inference: InferenceConfig = InferenceConfig()

    @property
    def known_levels(self) -> tuple[int, int] | None:
        """First and last pyramid level, where this section says it."""
        return None

    @model_validator(mode="after")
    def _entries_per_level(self) -> Self:
        if self.known_levels is not None:
            first, last = self.known_levels
            self.check_levels(last - first + 1, "pyramid.levels")
        return self

    @model_validator(mode="after")
    def _logits_exist(self) -> Self:
        if self.assigner.kind in READS_PREDICTIONS and self.head.fused_loss is True:
            raise ValueError(
                f"`assigner.kind: {self.assigner.kind}` reads the logits, which `head.fused_loss: "
                "true` never makes; set it to auto or false"
            )
        if self.loss.kind == "seesaw" and self.loss.compensation and self.head.fused_loss is True:
            raise ValueError(
                "`loss.compensation` looks at the logits, which `head.fused_loss: true` never "
                "makes; set the latter to auto or false, or `loss.compensation: 0`"
            )
        return self

    @model_validator(mode="after")
    def _deviations_fit(self) -> Self:
        if self.box_deviations is not None and self.box_coder != "delta":
            raise ValueError(
                f"`box_deviations` belongs to `box_coder: delta`, got {self.box_coder}; remove it"
            )
        return self

    @model_validator(mode="after")
    def _codes_exist(self) -> Self:
        by_codes = self.box_loss.kind == "smooth_l1" or self.box_loss.l1_weight > 0
        if self.assigner.kind == "simota" and self.box_coder == "distance" and by_codes:
            raise ValueError(
                "`assigner.kind: simota` gives objects to priors whose centre lies outside of "
                "them, which have no `box_coder: distance` to compare codes with; set that to "
                "delta, or take `box_loss: {kind: giou, l1_weight: 0}`"
            )
        return self

    @model_validator(mode="after")
    def _assigner_fits(self) -> Self:
        match self.assigner.kind:
            case "center":
                if self.priors.num_per_location != 1:
                    raise ValueError(
                        "`assigner.kind: center` needs one prior per location but `priors` has "
                        f"{self.priors.num_per_location}; set `priors.scales: [1.0]` and "
                        f"`priors.ratios: [1.0]`{_FCOS}"
                    )
                if self.box_coder != "distance":
                    raise ValueError(
                        "`assigner.kind: center` learns the distances from a point to the sides "
                        f"of its object, got `box_coder: {self.box_coder}`; set it to distance"
                        f"{_FCOS}"
                    )
            case "max_iou" | "paa" as kind:
                if self.box_coder != "delta":
                    raise ValueError(
                        f"`assigner.kind: {kind}` gives objects to priors whose centre lies "
                        "outside of them, which `box_coder: distance` cannot describe; set it to "
                        "delta"
                    )
                if self.head.quality and self.quality_loss.target == "centerness":
                    raise ValueError(
                        f"`assigner.kind: {kind}` gives objects to priors whose centre lies "
                        "outside of them, which have no centerness; set `quality_loss.target: iou`"
                    )
                if self.box_loss.weighting == "centerness":
                    raise ValueError(
                        f"`assigner.kind: {kind}` gives objects to priors whose centre lies "
                        "outside of them, which have no centerness; set `box_loss.weighting` to "
                        "none or iou"
                    )
        return self

    def check_levels(self, num_levels: int, name: str) -> None:
        """Refuse settings with an entry per level that are not for `num_levels` of them.

        Raises:
            ValueError: so it is; `name` is the setting that says which levels there are.
        """
        sizes = self.priors.sizes
        if sizes is not None and len(sizes) != num_levels:
            raise ValueError(
                f"`priors.sizes` has {len(sizes)} entries but `{name}` has "
                f"{num_levels} levels; give one size per level"
            )
        limits = self.assigner.size_limits if self.assigner.kind == "center" else None
        if limits is not None and len(limits) != num_levels - 1:
            raise ValueError(
                f"`assigner.size_limits` has {len(limits)} entries but `{name}` has "
                f"{num_levels} levels; give one limit for every level but the last"
            )


def _pyramid_kind(given: Any) -> str | None:
    return given.get("kind", "fpn") if isinstance(given, dict) else getattr(given, "kind", None)


class OneStageConfig(DetectorSection, DenseNetworkConfig):
    """Backbone, pyramid, one dense head (by default close to EFL's "improved baseline")."""

    kind: Literal["one_stage"] = "one_stage"
    backbone: BackboneConfig = BackboneConfig()
    pyramid: Annotated[
        Annotated[PyramidConfig, Tag("fpn")]
        | Annotated[PathAggregationConfig, Tag("path_aggregation")],
        Discriminator(_pyramid_kind),
    ] = PyramidConfig()

    @property
    def known_levels(self) -> tuple[int, int]:
        """Those of the pyramid."""
        return self.pyramid.levels

    @model_validator(mode="after")
    def _channels_fit(self) -> Self:
        if self.pyramid.kind == "path_aggregation" and self.head.shared:
            raise ValueError(
                "`pyramid.kind: path_aggregation` has other channels on every level, which a "
                "shared head cannot read; set `head.shared: false`"
            )
        return self
