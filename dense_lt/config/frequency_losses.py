"""Settings of the losses that look at how often classes occur in the training data."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from dense_lt.config.loss_section import FocalSection

BETA = 0.999
"""Default of the weights by effective number."""


def _check_items(number: float) -> float:
    if number < 1:
        raise ValueError(
            "is a number of training items, not a share of them: the published 1.1e-3 of the "
            "images of LVIS v1 are 110 images; give 1 or more"
        )
    return number


TailThreshold = Annotated[PositiveFloat, AfterValidator(_check_items)]
"""Of EQL v1, whose paper gives it as a share of the images."""


def check_beta(scheme: str, beta: float) -> None:
    """Refuse a `beta` beside a `scheme` that does not read it.

    Raises:
        ValueError: so it is, and `beta` is not the default, which every stored run has.
    """
    if scheme != "effective_number" and beta != BETA:
        raise ValueError(
            f"`beta` is {beta:g} but `scheme: {scheme}` does not read it; set `scheme: "
            "effective_number`, or leave `beta` out"
        )


class ClassWeightedFocalLossConfig(FocalSection):
    """Focal loss with a fixed weight per class, of mean 1 over the classes (Cui et al. 2019)."""

    kind: Literal["class_weighted_focal"]
    scheme: Literal["inverse", "square_root", "effective_number"] = "square_root"
    """Weight of a class with n training items: 1 / n, 1 / sqrt(n), (1 - beta) / (1 - beta^n)."""

    count: Literal["images", "instances"] = "images"
    """Which items are counted: training images that contain the class, or its instances."""

    beta: float = Field(default=BETA, gt=0, lt=1)
    """Of `effective_number`: near 0 all classes weigh the same, near 1 it is `inverse`."""

    entries: Literal["positive", "all"] = "positive"
    """What is weighted: the positive entries of a class, or its negatives on background too, which
    changes how fast a class learns but not how its positives compare with its negatives."""

    @model_validator(mode="after")
    def _beta_is_read(self) -> Self:
        check_beta(self.scheme, self.beta)
        return self


class EqualizationV1LossConfig(FocalSection):
    """Equalization loss, EQL v1 (Tan et al. 2020): objects do not punish tail classes.

    Published on regions and on cross-entropy: `alpha: -1`, `gamma: 0`.
    """

    kind: Literal["eql_v1"]
    threshold: TailThreshold = 110
    """Classes with fewer training items than this are tail classes. 110 images are the published
    1.1e-3 of LVIS v1; the published number for Open Images is 1652 instances."""

    count: Literal["images", "instances"] = "images"
    """Which items are counted."""


class SeesawLossConfig(FocalSection):
    """Seesaw loss (Wang et al. 2021) with a sigmoid for every class.

    An object punishes rarer classes less (mitigation) and classes that outscore its own more
    (compensation). Published on regions and on softmax cross-entropy.
    """

    kind: Literal["seesaw"]
    mitigation: float = Field(default=0.8, ge=0)
    """Exponent p of the ratio of counts; 0 for none."""

    compensation: float = Field(default=2.0, ge=0)
    """Exponent q of the ratio of scores; 0 for none, and then the loss can be fused."""

    count: Literal["images", "instances"] = "instances"
    """Which training items are counted."""


class FederatedLossConfig(FocalSection):
    """Federated loss (Zhou et al. 2021): in every step only a few classes have negatives.

    Those in the batch, and others drawn by chance. What an image was checked for it does not know:
    that is `federated: true`, which goes with every loss. Published on regions and on
    cross-entropy: `alpha: -1`, `gamma: 0`.
    """

    kind: Literal["federated_loss"]
    num_classes: PositiveInt = 50
    """Classes with negatives, background counted as one."""

    exponent: float = Field(default=0.5, ge=0)
    """A class is drawn with a probability proportional to its image count to this power."""


class EffectiveClassMarginLossConfig(FocalSection):
    """Effective class-margin loss, ECM (Cho and Krahenbuhl 2022), without its background logit.

    Published on regions and on cross-entropy: `alpha: -1`, `gamma: 0`.
    """

    kind: Literal["ecm"]
    background: float = Field(default=6.3313, ge=0)
    """Background items for one item of a class, among which a class is to be found."""


FrequencyLossConfig = (
    ClassWeightedFocalLossConfig
    | EqualizationV1LossConfig
    | SeesawLossConfig
    | FederatedLossConfig
    | EffectiveClassMarginLossConfig
)
