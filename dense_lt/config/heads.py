"""Settings of the dense head: towers, their norm, the start of the scores."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from dense_lt.config.section import Section


class DenseHeadConfig(Section):
    """Two towers of 3x3 convolutions, one for the classes and one for the boxes."""

    channels: PositiveInt = 256
    """Channels of both towers."""

    num_convs: int = Field(default=4, ge=0)
    """Convolutions in each tower."""

    norm: Literal["group", "batch", "frozen_batch", "none"] = "group"
    """After every convolution of a tower. `batch` mixes the levels of a shared tower in its
    statistics; `frozen_batch` keeps those of its weights; `none` as in RetinaNet's paper."""

    norm_groups: PositiveInt = 32
    """Groups of GroupNorm; must divide `channels`."""

    norm_eps: PositiveFloat = 1e-5
    """Added to the variance; YOLOX has 1e-3."""

    norm_momentum: float = Field(default=0.1, gt=0, le=1)
    """Share of a step in the running statistics of BatchNorm; YOLOX has 0.03."""

    activation: Literal["relu", "silu"] = "relu"
    """After every convolution of a tower."""

    deformable: Literal["none", "last", "all"] = "none"
    """Which convolutions of a tower are deformable (version 2); `last` as in ATSS's code."""

    shared: bool = True
    """The same head on every level; false gives every level its own, as in YOLOX."""

    stem: bool = False
    """A 1x1 convolution to `channels` below both towers, as in YOLOX."""

    output_kernel: Literal[1, 3] = 3
    """Size of the last convolutions, which give logits, codes and quality."""

    initialization: Literal["normal", "torch"] = "normal"
    """Of all convolutions: `normal`, of standard deviation 0.01 and with biases of 0 (RetinaNet and
    what followed), or torch's own, as in EFL's code for YOLOX. Priors below hold in both."""

    prior_probability: float = Field(default=0.01, gt=0, lt=1)
    """Score of every class before training (the classifier's bias)."""

    classifier: Literal["linear", "scaled"] = "linear"
    """`scaled`: a learnt factor on the weights of each logit (LWS; see docs/decoupled.md)."""

    tau: float = Field(default=0.0, ge=0)
    """In evaluation the weights of each class are divided by their norm to this power
    (tau-normalisation); 0 leaves them."""

    quality: bool = True
    """Predict how good each box is (`quality_loss.target`, on the box tower) and multiply it into
    the score."""

    quality_prior_probability: float = Field(default=0.5, gt=0, lt=1)
    """Quality of every box before training; YOLOX starts it like the classes."""

    level_scales: bool = False
    """One learnable factor per level on the box codes, as in FCOS and ATSS."""

    fused_loss: Literal["auto"] | bool = "auto"
    """Make logits and loss together, chunk by chunk, so that the logits never exist.

    `auto`: where it saves memory and the loss allows it.
    """

    @model_validator(mode="after")
    def _groups_divide(self) -> Self:
        if self.norm == "group" and self.channels % self.norm_groups:
            raise ValueError(
                f"`norm_groups` {self.norm_groups} must divide `channels` {self.channels}"
            )
        return self

    @model_validator(mode="after")
    def _scales_fit(self) -> Self:
        if self.level_scales and not self.shared:
            raise ValueError(
                "`level_scales` tells the levels of a shared head apart; with `shared: false` set "
                "it to false"
            )
        return self
