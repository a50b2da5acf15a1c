"""Settings of the classification losses on regions: one section per `kind`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dense_lt.config.loss_section import LossSection
from dense_lt.config.losses import EqualizationV2Section, EqualizedFocalLossConfig, FocalLossConfig


class SoftmaxLossConfig(LossSection):
    """Cross-entropy over the classes and background."""

    kind: Literal["softmax"] = "softmax"


class SigmoidLossConfig(LossSection):
    """Binary cross-entropy of every class, unweighted."""

    kind: Literal["sigmoid"]
    objectness: bool = False
    """One more logit for "no object", whose complement scales scores: EQL v2's fair control."""


class EqualizationV2RegionLossConfig(EqualizationV2Section):
    """Equalization loss v2, EQL v2 (Tan et al. 2021), with each of its parts switchable."""

    kind: Literal["eql_v2"]
    objectness: bool = True
    """One more logit for "no object", trained without reweighting; its complement scales scores."""

    reweight_negatives: bool = True
    """Weigh the negatives of a class down while its ratio is low."""

    reweight_positives: bool = True
    """Weigh the positives of a class up while its ratio is low."""

    classifier: Literal["c_sigmoid", "2c_softmax"] = "c_sigmoid"
    """`2c_softmax`: two logits per class and a softmax over each pair (the paper's table 9)."""


RegionLossConfig = Annotated[
    SoftmaxLossConfig
    | SigmoidLossConfig
    | EqualizationV2RegionLossConfig
    | FocalLossConfig
    | EqualizedFocalLossConfig,
    Field(discriminator="kind"),
]
