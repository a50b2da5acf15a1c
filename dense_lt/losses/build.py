"""From the settings of a loss to the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import assert_never

import torch

from dense_lt.balance.counts import ClassCounts, class_weights, effective_margin
from dense_lt.balance.modulation import (
    ClassWeightedFocal,
    Column,
    ConstantFocal,
    EqualizationV2,
    EqualizedFocal,
    Varifocal,
)
from dense_lt.balance.row_weights import SampledClasses, Seesaw, TailDropping
from dense_lt.balance.statistics import GradientStatistics
from dense_lt.config import frequency_losses as by_frequency
from dense_lt.config import losses as settings
from dense_lt.losses.classification import SigmoidLoss
from dense_lt.losses.logits import LogitMap


def build_classification_loss(
    section: settings.ClassificationLossConfig,
    num_classes: int,
    counts: ClassCounts | None = None,
) -> SigmoidLoss:
    """The loss that `section` describes.

    Args:
        section: its settings.
        num_classes: C.
        counts: of the classes in the training data, for the losses that look at it.

    Raises:
        ValueError: the loss needs `counts`.
    """
    statistics = GradientStatistics(num_classes, **section.statistics.model_dump())
    build = partial(
        SigmoidLoss, statistics=statistics, weight=section.weight, federated=section.federated
    )
    if isinstance(section, by_frequency.FrequencyLossConfig):
        if counts is None:
            raise ValueError(
                f"the loss `{section.kind}` looks at how often classes occur in the training data; "
                "pass `counts`"
            )
        return _by_frequency(section, counts, build)
    return _without_counts(section, build)


def _without_counts(
    section: settings.CountFreeLossConfig, build: Callable[..., SigmoidLoss]
) -> SigmoidLoss:
    match section:
        case settings.FocalLossConfig(alpha=alpha, gamma=gamma):
            return build(ConstantFocal(alpha, gamma))
        case settings.EqualizedFocalLossConfig(alpha=alpha, gamma=gamma, scale=scale):
            return build(EqualizedFocal(alpha, gamma, scale))
        case settings.QualityFocalLossConfig(gamma=gamma):
            return build(ConstantFocal(-1, gamma), needs_quality=True)
        case settings.VarifocalLossConfig(alpha=alpha, gamma=gamma):
            return build(Varifocal(alpha, gamma), needs_quality=True, varifocal=True)
        case settings.EqualizedQualityFocalLossConfig(gamma=gamma, scale=scale):
            return build(EqualizedFocal(-1, gamma, scale), needs_quality=True)
        case settings.EqualizationV2LossConfig() | settings.EqualizationV2FocalLossConfig():
            return _equalization_v2(section, build)
        case settings.BinaryCrossEntropyLossConfig():
            return build(ConstantFocal(-1, 0))
        case _:
            assert_never(section)


def _equalization_v2(
    section: settings.EqualizationV2LossConfig | settings.EqualizationV2FocalLossConfig,
    build: Callable[..., SigmoidLoss],
) -> SigmoidLoss:
    policy, objectness = EqualizationV2(section.steepness, section.mu, section.alpha), Column()
    if isinstance(section, settings.EqualizationV2FocalLossConfig):
        alpha, gamma = section.focal_alpha, section.focal_gamma
        policy = replace(policy, focal_alpha=alpha, focal_gamma=gamma)
        # of this logit background is the positive, but objects are what focal loss calls positives
        objects, background = (alpha, 1 - alpha) if alpha >= 0 else (1.0, 1.0)
        objectness = Column(gamma, positive_weight=background, negative_weight=objects)
    return build(policy, objectness=objectness if section.objectness else None, note_scaled=False)


def _by_frequency(
    section: by_frequency.FrequencyLossConfig,
    counts: ClassCounts,
    build: Callable[..., SigmoidLoss],
) -> SigmoidLoss:
    focal = ConstantFocal(section.alpha, section.gamma)
    images = torch.tensor(counts.images).clamp(min=1)
    match section:
        case by_frequency.ClassWeightedFocalLossConfig():
            weights = class_weights(
                counts._asdict()[section.count], section.scheme, beta=section.beta
            )
            only = section.entries == "positive"
            return build(ClassWeightedFocal(weights, focal, positives_only=only))
        case by_frequency.EqualizationV1LossConfig():
            tail = torch.tensor(counts._asdict()[section.count]) < section.threshold
            return build(focal, row_policy=TailDropping(tail))
        case by_frequency.SeesawLossConfig():
            items = torch.tensor(counts._asdict()[section.count]).clamp(min=1)
            exponents = {"mitigation": section.mitigation, "compensation": section.compensation}
            return build(focal, row_policy=Seesaw(items, **exponents))
        case by_frequency.FederatedLossConfig():
            chance = images.float() ** section.exponent
            return build(focal, row_policy=SampledClasses(chance, section.num_classes))
        case by_frequency.EffectiveClassMarginLossConfig():
            weights, margin = effective_margin(counts.images, section.background)
            policy = ClassWeightedFocal(weights, focal, positives_only=False)
            return build(policy, logit_map=LogitMap(2.0, margin))
        case _:
            assert_never(section)
