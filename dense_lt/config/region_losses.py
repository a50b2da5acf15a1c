"""Settings of the classification losses on regions: one section per `kind`, named as published."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from dense_lt.config.frequency_losses import BETA, TailThreshold, check_beta
from dense_lt.config.loss_section import LossSection
from dense_lt.config.losses import EqualizationV2Section, EqualizedFocalLossConfig, FocalLossConfig

Count = Literal["images", "instances"]


class SoftmaxSection(LossSection):
    """A loss with one softmax over all classes, or over those of a group."""

    @model_validator(mode="after")
    def _all_classes_are_negatives(self) -> Self:
        if self.federated:
            raise ValueError(
                "`federated: true` leaves classes out of the negatives, which a softmax over all "
                "classes cannot do; set it to false, or take a loss with a sigmoid per class"
            )
        return self


class SoftmaxLossConfig(SoftmaxSection):
    """Cross-entropy over the classes and background."""

    kind: Literal["softmax"] = "softmax"


class ClassBalancedSoftmaxLossConfig(SoftmaxSection):
    """Cross-entropy with a weight per class, of mean 1 over the classes (Cui et al. 2019).

    Background weighs 1.
    """

    kind: Literal["class_balanced_softmax"]
    scheme: Literal["inverse", "square_root", "effective_number"] = "effective_number"
    """Weight of a class with n training items: 1 / n, 1 / sqrt(n), (1 - beta) / (1 - beta^n)."""

    beta: float = Field(default=BETA, gt=0, lt=1)
    """Of `effective_number`: near 0 all classes weigh the same, near 1 it is `inverse`."""

    count: Count = "images"
    """Which training items are counted."""

    @model_validator(mode="after")
    def _beta_is_read(self) -> Self:
        check_beta(self.scheme, self.beta)
        return self


class LogitAdjustedSoftmaxLossConfig(SoftmaxSection):
    """Cross-entropy on logits that frequent classes find easy to reach (Menon et al. 2021).

    While training, tau ln(n / mean n) is added to the logit of a class with n training items; the
    logit of background stays as it is.
    """

    kind: Literal["logit_adjusted_softmax"]
    tau: float = Field(default=1.0, ge=0)
    """Strength; 0 is plain softmax."""

    count: Count = "images"
    """Which training items are counted."""


class SoftmaxEqualizationLossConfig(SoftmaxSection):
    """Softmax-EQL (Tan et al. 2022): logits adjusted by the gradient that classes have received."""

    kind: Literal["softmax_eql"]
    tau: float = Field(default=1.0, ge=0)
    """Strength; 0 is plain softmax."""

    gradient: Literal["positive", "negative"] = "positive"
    """Which gradient measures how much a class has been trained."""

    smallest: PositiveFloat = 1e-4
    """Sums count as at least this much."""


class SigmoidLossConfig(LossSection):
    """Binary cross-entropy of every class, unweighted."""

    kind: Literal["sigmoid"]
    objectness: bool = False
    """One more logit for "no object", whose complement scales scores: the logits of EQL v2."""


class EqualizationV1RegionLossConfig(LossSection):
    """Equalization loss, EQL v1 (Tan et al. 2020): objects do not punish tail classes."""

    kind: Literal["eql_v1"]
    threshold: TailThreshold = 110
    """Classes with fewer training items than this are tail classes. 110 images are the published
    1.1e-3 of LVIS v1; the published number for Open Images is 1652 instances."""

    count: Count = "images"
    """Which training items are counted."""


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


class FederatedRegionLossConfig(LossSection):
    """Federated loss (Zhou et al. 2021): in every step only a few classes have negatives.

    Those in the batch, and others drawn by chance. What an image was checked for it does not know:
    that is `federated: true`, which goes with every loss that has a sigmoid per class.
    """

    kind: Literal["federated_loss"]
    num_classes: PositiveInt = 50
    """Classes with negatives, background counted as one."""

    exponent: float = Field(default=0.5, ge=0)
    """A class is drawn with a probability proportional to its image count to this power."""


class EffectiveClassMarginRegionLossConfig(LossSection):
    """Effective class-margin loss, ECM (Cho and Krahenbuhl 2022), with its background logit."""

    kind: Literal["ecm"]
    background: PositiveFloat = 6.3313
    """Background items for one item of a class, among which a class is to be found."""


class SeesawRegionLossConfig(SoftmaxSection):
    """Seesaw loss (Wang et al. 2021): softmax over the classes, and a pair of objectness logits.

    An object punishes rarer classes less (mitigation) and classes that outscore its own more
    (compensation).
    """

    kind: Literal["seesaw"]
    mitigation: float = Field(default=0.8, ge=0)
    """Exponent p of the ratio of counts; 0 for none."""

    compensation: float = Field(default=2.0, ge=0)
    """Exponent q of the ratio of scores; 0 for none."""

    count: Literal["online", "images", "instances"] = "online"
    """What is counted: regions while training (published), or training items."""


class GroupSoftmaxLossConfig(SoftmaxSection):
    """Balanced group softmax, BAGS (Li et al. 2020): a softmax for classes of similar frequency.

    Published for a classifier that is trained anew on frozen features.
    """

    kind: Literal["bags"]
    boundaries: tuple[PositiveInt, ...] = Field(default=(10, 100, 1000), min_length=1)
    """Training instances at which the next group begins."""

    others: float = Field(default=8.0, ge=0)
    """Regions of other groups, drawn by chance, that a group sees for each of its own."""

    @model_validator(mode="after")
    def _boundaries_rise(self) -> Self:
        if any(lower >= upper for lower, upper in pairwise(self.boundaries)):
            raise ValueError(f"`boundaries` must rise, got {list(self.boundaries)}")
        return self


RegionLossConfig = Annotated[
    SoftmaxLossConfig
    | ClassBalancedSoftmaxLossConfig
    | LogitAdjustedSoftmaxLossConfig
    | SoftmaxEqualizationLossConfig
    | SigmoidLossConfig
    | EqualizationV1RegionLossConfig
    | EqualizationV2RegionLossConfig
    | FocalLossConfig
    | EqualizedFocalLossConfig
    | SeesawRegionLossConfig
    | GroupSoftmaxLossConfig
    | FederatedRegionLossConfig
    | EffectiveClassMarginRegionLossConfig,
    Field(discriminator="kind"),
]
