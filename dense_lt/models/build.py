"""Model section -> Detector: the whole wiring, readable from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, assert_never

from dense_lt.balance.counts import ClassCounts
from dense_lt.config.box_losses import BoxLossConfig, GIoULossConfig, SmoothL1LossConfig
from dense_lt.config.detectors import ModelConfig
from dense_lt.config.model import (
    AnchorsConfig,
    BackboneConfig,
    DenseNetworkConfig,
    OneStageConfig,
    PyramidConfig,
)
from dense_lt.config.proposals import DenseProposalsConfig
from dense_lt.config.pyramids import PathAggregationConfig
from dense_lt.config.two_stage import TwoStageConfig
from dense_lt.losses.build import build_classification_loss
from dense_lt.losses.regression import (
    BoxLoss,
    GIoUBoxLoss,
    SmoothL1BoxLoss,
    SumOfBoxLosses,
)
from dense_lt.models.assigners.build import build_assigner
from dense_lt.models.backbone import Backbone
from dense_lt.models.csp_darknet import SIZES, CspDarknet
from dense_lt.models.dense_inference import DenseInference, SelectionLimits
from dense_lt.models.dense_loss import DenseLoss
from dense_lt.models.detector import Detector
from dense_lt.models.heads.build import build_head
from dense_lt.models.heads.dense import DenseHead, PerLevelHead
from dense_lt.models.one_stage import OneStageDetector
from dense_lt.models.pafpn import PathAggregation
from dense_lt.models.priors import PriorGenerator
from dense_lt.models.pyramid import PixelNormalizer, Pyramid
from dense_lt.models.two_stage.build import build_two_stage, levels_of
from dense_lt.models.two_stage.dense_proposals import DenseProposals
from dense_lt.ops.box_coding import BoxCoder, DeltaBoxCoder, DistanceBoxCoder
from dense_lt.utils.errors import ConfigError


def build_detector(
    config: ModelConfig, num_classes: int, counts: ClassCounts | None = None
) -> Detector:
    """The detector of a model section.

    Args:
        config: the section.
        num_classes: C, from the annotations.
        counts: of the classes in the training data; a few losses need it.

    Raises:
        ConfigError: `model.num_classes` contradicts the data, or the backbone does not fit.
    """
    if config.num_classes is not None and config.num_classes != num_classes:
        raise ConfigError(
            f"model.num_classes is {config.num_classes} but the annotations have {num_classes} "
            "categories; remove the setting (it is read from the annotations)"
        )
    backbone = _backbone(config.backbone, levels=config.pyramid.backbone_levels)
    normalizer = _normalizer(config.backbone, backbone)
    if isinstance(config, TwoStageConfig):
        return _two_stage(config, num_classes, counts, normalizer, backbone)
    pyramid = _pyramid(config, backbone)
    dense = _dense_network(
        config, num_classes, counts, strides=pyramid.strides, in_channels=pyramid.channels
    )
    return OneStageDetector(
        normalizer=normalizer,
        pyramid=pyramid,
        **dense._asdict(),
        fused_loss=config.head.fused_loss,
    )


def _two_stage(
    config: TwoStageConfig,
    num_classes: int,
    counts: ClassCounts | None,
    normalizer: PixelNormalizer,
    backbone: Backbone | CspDarknet,
) -> Detector:
    pyramid = _feature_pyramid(config.pyramid, backbone)
    dense = None
    if isinstance(config.proposals, DenseProposalsConfig):
        levels = levels_of(config.proposals.levels, pyramid)
        parts = _dense_network(
            config.proposals,
            num_classes=1,
            counts=None,
            strides=pyramid.strides[levels],
            in_channels=pyramid.channels[levels],
        )
        dense = DenseProposals(**parts._asdict(), levels=levels)
    return build_two_stage(
        config, num_classes, counts, normalizer=normalizer, pyramid=pyramid, dense=dense
    )


class _DenseNetwork(NamedTuple):
    """What finds boxes on the maps of a pyramid."""

    priors: PriorGenerator
    head: DenseHead | PerLevelHead
    loss: DenseLoss
    inference: DenseInference


def _dense_network(
    config: DenseNetworkConfig,
    num_classes: int,
    counts: ClassCounts | None,
    *,
    strides: tuple[int, ...],
    in_channels: Sequence[int],
) -> _DenseNetwork:
    priors = _priors(config.priors, strides=strides)
    coder = _coder(config)
    classification = build_classification_loss(config.loss, num_classes, counts)
    if config.head.fused_loss is True and not classification.can_fuse:
        raise ConfigError(
            f"model.head.fused_loss: true, but the loss {config.loss.kind} must see the logits "
            "first; set it to auto or false"
        )
    head = build_head(
        config.head,
        in_channels=in_channels,
        priors_per_location=priors.priors_per_location,
        classification=classification,
    )
    return _DenseNetwork(
        priors=priors,
        head=head,
        loss=DenseLoss(
            assigner=build_assigner(config.assigner),
            coder=coder,
            classification=classification,
            box=_box_loss(config.box_loss, coder),
            quality_weight=config.quality_loss.weight,
            quality_target=config.quality_loss.target,
        ),
        inference=DenseInference(
            classification=classification,
            coder=coder,
            limits=SelectionLimits(**config.inference.model_dump()),
        ),
    )


def _backbone(config: BackboneConfig, *, levels: tuple[int, int]) -> Backbone | CspDarknet:
    if config.name in SIZES:
        return CspDarknet(
            config.name,
            levels=levels,
            frozen_stages=config.frozen_stages,
            options=config.options,
        )
    return Backbone(
        config.name,
        levels=levels,
        pretrained=config.pretrained,
        weights=config.weights,
        frozen_stages=config.frozen_stages,
        norm=config.norm,
        options=config.options,
    )


def _pyramid(config: OneStageConfig, backbone: Backbone | CspDarknet) -> Pyramid | PathAggregation:
    match config.pyramid:
        case PathAggregationConfig(depth=depth, residual=residual):
            return PathAggregation(backbone, depth=depth, residual=residual)
        case PyramidConfig():
            return _feature_pyramid(config.pyramid, backbone)
        case _:
            assert_never(config.pyramid)


def _feature_pyramid(config: PyramidConfig, backbone: Backbone | CspDarknet) -> Pyramid:
    return Pyramid(backbone, **config.model_dump(exclude={"kind", "backbone_levels"}))


def _normalizer(config: BackboneConfig, backbone: Backbone | CspDarknet) -> PixelNormalizer:
    mean, std = backbone.pixel_statistics()
    return PixelNormalizer(config.mean or tuple(mean), config.std or tuple(std))


def _priors(config: AnchorsConfig, *, strides: tuple[int, ...]) -> PriorGenerator:
    return PriorGenerator(
        strides,
        scales=config.scales,
        ratios=config.ratios,
        sizes=config.sizes,
        center=config.center,
    )


def _coder(config: DenseNetworkConfig) -> BoxCoder:
    match config.box_coder:
        case "delta":
            return DeltaBoxCoder(config.box_deviations or (1.0, 1.0, 1.0, 1.0))
        case "distance":
            return DistanceBoxCoder()
        case _:
            assert_never(config.box_coder)


def _box_loss(config: BoxLossConfig, coder: BoxCoder) -> BoxLoss:
    weighting, divide_by = config.weighting, config.divide_by
    match config:
        case GIoULossConfig(weight=weight, l1_weight=l1_weight):
            loss = GIoUBoxLoss(weight, weighting, divide_by)
            if not l1_weight:
                return loss
            return SumOfBoxLosses((loss, SmoothL1BoxLoss(coder, beta=0.0, weight=l1_weight)))
        case SmoothL1LossConfig(weight=weight, beta=beta):
            return SmoothL1BoxLoss(coder, beta, weight, weighting, divide_by)
        case _:
            assert_never(config)
