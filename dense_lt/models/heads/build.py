"""Head section -> dense head."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dense_lt.config.heads import DenseHeadConfig
from dense_lt.losses.classification import SigmoidLoss
from dense_lt.models.heads.dense import DenseHead, PerLevelHead
from dense_lt.models.heads.towers import TowerShape
from dense_lt.models.rescaled import Rescaling


def build_head(
    config: DenseHeadConfig,
    *,
    in_channels: Sequence[int],
    priors_per_location: int,
    classification: SigmoidLoss,
) -> DenseHead | PerLevelHead:
    """The head for maps of `in_channels`, one number per level.

    Raises:
        ValueError: a shared head for levels of different channels.
    """
    learnt = config.classifier == "scaled"
    rescaling = Rescaling(classification.num_classes, classification.num_logits, learnt, config.tau)
    start = config.quality_prior_probability
    shape = TowerShape(**{name: getattr(config, name) for name in TowerShape._fields})

    def head(channels: int, num_level_scales: int = 0) -> DenseHead:
        return DenseHead(
            in_channels=channels,
            num_logits=classification.num_logits,
            priors_per_location=priors_per_location,
            tower=shape,
            logit_bias=classification.initial_bias(config.prior_probability),
            quality_bias=math.log(start / (1 - start)) if config.quality else None,
            num_level_scales=num_level_scales,
            rescaling=rescaling if learnt or config.tau else None,
        )

    if not config.shared:
        return PerLevelHead([head(channels) for channels in in_channels])
    return head(in_channels[0], len(in_channels) if config.level_scales else 0)
