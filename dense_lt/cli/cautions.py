"""What is told before a run starts because its settings cannot do what they seem to be for."""

from __future__ import annotations

import logging
import math
from itertools import count

import torch
from timm.layers.norm_act import FrozenBatchNormAct2d
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from dense_lt.cli.training_parts import TrainingParts
from dense_lt.config.detectors import ModelConfig
from dense_lt.config.experiment import ExperimentConfig, TrainConfig
from dense_lt.config.model import BackboneConfig, DenseNetworkConfig
from dense_lt.engine.loop import Periods
from dense_lt.models.backbone import Backbone
from dense_lt.utils.errors import ConfigError

logger = logging.getLogger(__name__)

RATIO_READERS = ("equalized_focal", "equalized_quality_focal", "eql_v2", "eql_v2_focal")
"""Losses that the gradient ratio shapes; `softmax_eql` reads one of the sums it is made of."""

SCALES_BESIDE_SIZES = ((6.0, 8.0), (8.0,), (1.0,))
"""Scales that nobody meant: the default, and those of the ATSS, PAA and FCOS files, which stay in a
configuration that gives its sizes in pixels after them."""


def warn_of_settings(config: ExperimentConfig, parts: TrainingParts) -> None:
    """Tell each doubt in a line of the log, once."""
    warn_if_frozen_at_random(config.model)
    warn_if_head_norm_does_nothing(config.model)
    warn_if_no_norm_is_meant(config.model.backbone, parts.detector)
    warn_if_maps_end_early(config.model.backbone, parts.detector, config.data.pad_to_multiple_of)
    warn_if_scales_are_not_read(config.model)
    warn_if_ratio_is_not_read(config.model)
    warn_if_loss_is_another(config.model, len(parts.data.categories))
    warn_if_best_is_last(config.train, parts.periods)


def starts_from(model: ModelConfig) -> str:
    """Where the weights of the backbone come from, in words."""
    backbone = model.backbone
    if model.init_from is not None:
        return f"model.init_from {model.init_from}"
    if backbone.weights is not None:
        return f"weights {backbone.weights}"
    return "timm's pretrained weights" if backbone.pretrained else "random weights"


def warn_if_frozen_at_random(model: ModelConfig) -> None:
    """Tell when parts of the model are kept as they are though nothing was loaded."""
    backbone = model.backbone
    if backbone.pretrained or backbone.weights is not None or model.init_from is not None:
        return
    kept = {}
    if backbone.frozen_stages:
        kept[f"model.backbone.frozen_stages: {backbone.frozen_stages}"] = (
            "model.backbone.frozen_stages=0"
        )
    if backbone.norm in ("frozen", "fixed_statistics"):
        kept[f"model.backbone.norm: {backbone.norm}"] = "model.backbone.norm=train or group"
    if model.frozen:
        kept[f"model.frozen: {list(model.frozen)}"] = "model.frozen=[]"
    if kept:
        logger.warning(
            "%s: kept as made by chance, because the backbone starts from random weights; set "
            "model.backbone.pretrained=true, model.backbone.weights=FILE or model.init_from=RUN, "
            "or else %s",
            ", ".join(kept),
            " and ".join(kept.values()),
        )


def warn_if_head_norm_does_nothing(model: ModelConfig) -> None:
    """Tell when a new head, whose statistics are 0 and 1, is to keep them."""
    if model.init_from is not None:
        return
    for path, dense in _dense_networks(model).items():
        if dense.head.norm == "frozen_batch":
            logger.warning(
                "%s.head.norm: frozen_batch does nothing: a head that starts from random weights "
                "has mean 0 and variance 1 to keep; set model.init_from=RUN, or %s.head.norm=group",
                path,
                path,
            )


def warn_if_no_norm_is_meant(section: BackboneConfig, detector: nn.Module) -> None:
    """Tell when batch normalisation is to be fixed and the backbone has none."""
    if section.norm not in ("frozen", "fixed_statistics"):
        return
    kinds = (nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d, FrozenBatchNormAct2d)
    backbones = [module for module in detector.modules() if isinstance(module, Backbone)]
    if not any(isinstance(module, kinds) for own in backbones for module in own.modules()):
        logger.warning(
            "model.backbone.norm: %s does nothing: %s has no batch normalisation; set "
            "model.backbone.norm=train (model.backbone.frozen_stages keeps stages as they are)",
            section.norm,
            section.name,
        )


def warn_if_maps_end_early(section: BackboneConfig, detector: nn.Module, multiple: int) -> None:
    """Tell when the last pixels of an image have no cell in a map of the backbone.

    ConvNeXt and its like round the size of a map down where a ResNet rounds it up.

    Args:
        section: of the backbone.
        detector: that has it.
        multiple: height and width of a batch are padded to a multiple of this, pixels.
    """
    for own in (module for module in detector.modules() if isinstance(module, Backbone)):
        stride = own.strides[-1]
        if multiple % stride == 0:
            continue
        side = next(n for n in count(multiple, multiple) if n > 2 * stride and n % stride)
        try:  # costs no memory and leaves the model and the random state alone
            with torch.device("meta"):
                levels = (int(math.log2(own.strides[0])), int(math.log2(stride)))
                last = Backbone(own.name, levels=levels, options=section.options)
                cells = last(torch.zeros(1, 3, side, side))[-1].shape[-1]
        except (ConfigError, RuntimeError, AssertionError, ValueError):
            return  # not without running it
        if cells < side / stride:
            logger.warning(
                "data.pad_to_multiple_of: %d: at stride %d %s has %d cells for %d pixels, and none "
                "for the last ones, where an object has fewer priors or none; set "
                "data.pad_to_multiple_of=%d",
                multiple,
                stride,
                own.name,
                cells,
                side,
                math.lcm(multiple, stride),
            )


def warn_if_scales_are_not_read(model: ModelConfig) -> None:
    """Tell when priors have sizes in pixels, and scales in strides that nobody reads."""
    for path, dense in _dense_networks(model).items():
        priors = dense.priors
        if priors.sizes is not None and priors.scales not in SCALES_BESIDE_SIZES:
            logger.warning(
                "%s.priors.scales: %s does nothing beside %s.priors.sizes: %s; set "
                "%s.priors.sizes=null to use the scales",
                path,
                list(priors.scales),
                path,
                list(priors.sizes),
                path,
            )


def warn_if_ratio_is_not_read(model: ModelConfig) -> None:
    """Tell when the gradient ratio is corrected for a loss that does not look at it."""
    loss = model.loss
    unread = [("common_negative", loss.statistics.common_negative)]
    if loss.kind != "softmax_eql":
        unread.append(("count_prior", loss.statistics.count_prior))
    given = ", ".join(f"model.loss.statistics.{key}: {value:g}" for key, value in unread if value)
    if given and loss.kind not in RATIO_READERS:
        logger.warning(
            "%s changes only the ratios in the log: the loss %s does not look at them; those that "
            "do are %s",
            given,
            loss.kind,
            ", ".join(RATIO_READERS),
        )


def warn_if_loss_is_another(model: ModelConfig, num_classes: int) -> None:
    """Tell when a setting turns the loss into one that is not its name; `num_classes` is C."""
    loss = model.loss
    if loss.kind == "federated_loss" and loss.num_classes >= num_classes:
        logger.warning(
            "model.loss.num_classes: %d: with %d classes next to none is left out of the "
            "negatives, and federated_loss is the loss without it; set fewer, or another kind",
            loss.num_classes,
            num_classes,
        )
    if loss.kind == "eql_v2_focal" and 0 < loss.alpha < 1:
        logger.warning(
            "model.loss.alpha: %g of eql_v2_focal is what positives gain at ratio 0 (published: "
            "4); the weight of positives in the focal loss is model.loss.focal_alpha: %g",
            loss.alpha,
            loss.focal_alpha,
        )


def warn_if_best_is_last(section: TrainConfig, periods: Periods) -> None:
    """Tell when the best of the evaluations is kept and there is only the one at the end."""
    if section.keep_best is None or (periods.evaluate or periods.total) < periods.total:
        return
    logger.warning(
        "train.keep_best: %s is measured at the end only (train.evaluate_every is %s, the run has "
        "%d steps), so the best checkpoint is the last; set train.evaluate_every below that",
        section.keep_best,
        "null" if section.evaluate_every is None else section.evaluate_every,
        periods.total,
    )


def _dense_networks(model: ModelConfig) -> dict[str, DenseNetworkConfig]:
    """The dense detectors of a model by their dotted keys: one, or none."""
    own = {"model": model, "model.proposals": getattr(model, "proposals", None)}
    return {path: one for path, one in own.items() if isinstance(one, DenseNetworkConfig)}
