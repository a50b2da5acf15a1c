"""Two-stage model section -> detector: the whole wiring, readable from top to bottom."""

from __future__ import annotations

from dense_lt.balance.counts import ClassCounts
from dense_lt.config.proposals import DenseProposalsConfig, ProposalNetworkConfig
from dense_lt.config.two_stage import CascadeConfig, RegionsConfig, TwoStageConfig
from dense_lt.losses.regions.base import RegionClassificationLoss, classes_come_first
from dense_lt.losses.regions.build import build_region_loss
from dense_lt.losses.regression import SmoothL1BoxLoss
from dense_lt.models.assigners.max_iou import MaxIoUAssigner
from dense_lt.models.priors import PriorGenerator
from dense_lt.models.pyramid import PixelNormalizer, Pyramid
from dense_lt.models.rescaled import Rescaling
from dense_lt.models.two_stage.anchors import TorchvisionPriors
from dense_lt.models.two_stage.box_head import BoxHead, linear_classifier
from dense_lt.models.two_stage.cascade import CascadeDetector, Stage
from dense_lt.models.two_stage.dense_proposals import DenseProposals
from dense_lt.models.two_stage.detector import TwoStageDetector
from dense_lt.models.two_stage.mask_head import MaskBranch, MaskHead
from dense_lt.models.two_stage.proposals import (
    ProposalHead,
    ProposalLimits,
    ProposalLoss,
    ProposalNetwork,
    ProposalSelection,
)
from dense_lt.models.two_stage.region_inference import RegionInference, RegionLimits
from dense_lt.models.two_stage.region_loss import RegionLoss
from dense_lt.models.two_stage.regions import RegionPooling, RegionSampler
from dense_lt.models.two_stage.semantic import SemanticBranch
from dense_lt.ops.box_coding import DeltaBoxCoder
from dense_lt.utils.errors import ConfigError


def build_two_stage(
    config: TwoStageConfig,
    num_classes: int,
    counts: ClassCounts | None,
    *,
    normalizer: PixelNormalizer,
    pyramid: Pyramid,
    dense: DenseProposals | None = None,
) -> TwoStageDetector | CascadeDetector:
    """The detector of a section, on the parts that all detectors have.

    Args:
        config: the section.
        num_classes: C.
        counts: of the classes in the training data.
        normalizer: of pixels.
        pyramid: with its backbone.
        dense: what proposes if `config.proposals` is of kind dense.

    Raises:
        ConfigError: the loss has no use for a probability that is set.
    """
    if isinstance(config.proposals, DenseProposalsConfig):
        assert dense is not None, "models.build makes it"
        proposals: DenseProposals | ProposalNetwork = dense
    else:
        proposals = _proposals(config.proposals, pyramid, channels=config.pyramid.channels)
    if config.cascade is not None:
        stages = _stages(config, config.cascade, num_classes, counts, pyramid)
        return CascadeDetector(
            normalizer=normalizer,
            pyramid=pyramid,
            proposals=proposals,
            stages=stages,
            inference=_inference(config, stages[-1].loss),
            interleaved=config.cascade.interleaved,
            mask_flow=config.cascade.mask_flow,
            semantic=_semantic(config, pyramid, num_classes),
        )
    loss = _loss(config, num_classes, counts, config.head.deviations)
    return TwoStageDetector(
        normalizer=normalizer,
        pyramid=pyramid,
        proposals=proposals,
        sampler=_sampler(config.regions, config.regions.positive_iou, stage=1),
        head=_box_head(config, loss.classification, pyramid),
        loss=loss,
        inference=_inference(config, loss),
        mask=_mask_branch(config, pyramid, num_classes),
    )


def _stages(
    config: TwoStageConfig,
    cascade: CascadeConfig,
    num_classes: int,
    counts: ClassCounts | None,
    pyramid: Pyramid,
) -> list[Stage]:
    stages = []
    columns = zip(cascade.ious, cascade.weights, cascade.deviations, strict=True)
    for number, (iou, weight, deviations) in enumerate(columns):
        loss = _loss(config, num_classes, counts, deviations)
        flow = cascade.mask_flow and number > 0
        stages.append(
            Stage(
                sampler=_sampler(config.regions, iou, stage=number + 1),
                head=_box_head(config, loss.classification, pyramid),
                loss=loss,
                weight=weight,
                mask=_mask_branch(config, pyramid, num_classes, flow=flow),
            )
        )
    return stages


def _sampler(config: RegionsConfig, iou: float, *, stage: int) -> RegionSampler:
    return RegionSampler(
        MaxIoUAssigner(positive_iou=iou, background_iou=iou, low_quality=config.low_quality),
        count=config.samples,
        positive_fraction=config.positive_fraction,
        add_ground_truth=config.add_ground_truth,
        stage=stage,
    )


def _loss(
    config: TwoStageConfig,
    num_classes: int,
    counts: ClassCounts | None,
    deviations: tuple[float, float, float, float],
) -> RegionLoss:
    coder = DeltaBoxCoder(deviations)
    return RegionLoss(
        classification=build_region_loss(config.loss, num_classes, counts),
        coder=coder,
        box=SmoothL1BoxLoss(coder, beta=config.box_loss.beta, weight=config.box_loss.weight),
        federated=config.loss.federated,
    )


def _inference(config: TwoStageConfig, loss: RegionLoss) -> RegionInference:
    multiplies = config.inference.proposal_scores
    if multiplies is None:
        multiplies = isinstance(config.proposals, DenseProposalsConfig)
    return RegionInference(
        classification=loss.classification,
        coder=loss.coder,
        limits=RegionLimits(**config.inference.model_dump(exclude={"proposal_scores"})),
        proposal_scores=multiplies,
    )


def _proposals(
    config: ProposalNetworkConfig, pyramid: Pyramid, *, channels: int
) -> ProposalNetwork:
    levels = levels_of(config.levels, pyramid)
    generator = TorchvisionPriors if config.anchors.torchvision else PriorGenerator
    priors = generator(
        pyramid.strides[levels],
        scales=config.anchors.scales,
        ratios=config.anchors.ratios,
        center=config.anchors.center,
    )
    coder = DeltaBoxCoder()
    return ProposalNetwork(
        head=ProposalHead(
            in_channels=channels,
            channels=config.channels or channels,
            priors_per_location=priors.priors_per_location,
        ),
        priors=priors,
        loss=ProposalLoss(
            MaxIoUAssigner(positive_iou=config.positive_iou, background_iou=config.background_iou),
            coder,
            SmoothL1BoxLoss(coder, beta=config.box_loss.beta, weight=config.box_loss.weight),
            samples=config.samples,
            positive_fraction=config.positive_fraction,
        ),
        selection=ProposalSelection(coder, config.nms_iou),
        train_limits=ProposalLimits(**config.train.model_dump()),
        test_limits=ProposalLimits(**config.test.model_dump()),
        levels=levels,
    )


def _pooling(config: TwoStageConfig, pyramid: Pyramid, size: int) -> RegionPooling:
    levels = levels_of(config.pooled_levels, pyramid)
    semantic = config.semantic and RegionPooling(
        (2**config.semantic.level,),
        size=config.semantic.pool_size,
        first=len(pyramid.strides),  # its map follows those of the pyramid
        sampling_ratio=config.pool.sampling_ratio,
        aligned=config.pool.aligned,
    )
    return RegionPooling(
        pyramid.strides[levels],
        size=size,
        first=levels.start,
        sampling_ratio=config.pool.sampling_ratio,
        aligned=config.pool.aligned,
        canonical_size=config.pool.canonical_size,
        canonical_level=config.pool.canonical_level,
        added=semantic,
    )


def _box_head(
    config: TwoStageConfig, classification: RegionClassificationLoss, pyramid: Pyramid
) -> BoxHead:
    head, in_features = config.head, config.pyramid.channels * config.pool.box_size**2
    try:
        bias = classification.initial_bias(head.prior_probability, head.objectness_probability)
    except ValueError as error:
        raise ConfigError(f"model.loss.kind={config.loss.kind}: {error}") from error
    classifier = linear_classifier(
        head.channels if head.num_layers else in_features,
        bias,
        temperature=head.temperature if head.classifier == "normalized" else None,
        rescaling=_rescaling(config, classification),
    )
    return BoxHead(
        pooling=_pooling(config, pyramid, config.pool.box_size),
        in_channels=config.pyramid.channels,
        channels=head.channels,
        num_layers=head.num_layers,
        classifier=classifier,
        num_boxes=1 if head.class_agnostic else classification.num_classes,
        initialization=head.initialization,
    )


def _rescaling(
    config: TwoStageConfig, classification: RegionClassificationLoss
) -> Rescaling | None:
    learnt, tau = config.head.classifier == "scaled", config.head.tau
    if tau and not classes_come_first(classification):
        raise ConfigError(
            f"model.head.tau is {tau:g} but model.loss.kind={config.loss.kind} does not have one "
            "logit for each class, followed by those of background; set it to 0"
        )
    if not learnt and not tau:
        return None
    return Rescaling(classification.num_classes, classification.num_logits, learnt, tau)


def _mask_branch(
    config: TwoStageConfig, pyramid: Pyramid, num_classes: int, *, flow: bool = False
) -> MaskBranch | None:
    mask = config.mask
    if mask is None:
        return None
    head = MaskHead(
        pooling=_pooling(config, pyramid, config.pool.mask_size),
        in_channels=config.pyramid.channels,
        channels=mask.channels,
        num_convs=mask.num_convs,
        num_masks=1 if mask.class_agnostic else num_classes,
        temperature=mask.temperature if mask.predictor == "normalized" else None,
        flow=flow,
    )
    return MaskBranch(head, weight=mask.weight)


def _semantic(config: TwoStageConfig, pyramid: Pyramid, num_classes: int) -> SemanticBranch | None:
    semantic = config.semantic
    if semantic is None:
        return None
    return SemanticBranch(
        channels=config.pyramid.channels,
        strides=pyramid.strides,
        level=pyramid.strides.index(2**semantic.level),
        num_convs=semantic.num_convs,
        num_classes=num_classes,
        weight=semantic.weight,
    )


def levels_of(levels: tuple[int, int] | None, pyramid: Pyramid) -> slice:
    """Levels l of stride 2^l, both ends included -> their places in the pyramid."""
    if levels is None:
        return slice(0, len(pyramid.strides))
    first, last = (pyramid.strides.index(2**level) for level in levels)
    return slice(first, last + 1)
