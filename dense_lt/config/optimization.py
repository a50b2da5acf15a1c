"""Settings of the optimizer and of the course of its learning rate."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from dense_lt.config.section import Section


class OptimizerSection(Section):
    """What every optimizer has.

    Another kind keeps what the batch and the model ask for, not the rates and what decays.
    """

    kept_by_every_choice: ClassVar[frozenset[str]] = frozenset(
        {"base_batch_size", "lr_factors", "layer_decay", "fused"}
    )

    lr: PositiveFloat
    """Learning rate for `base_batch_size` images per step; scaled linearly to the real batch."""

    base_batch_size: PositiveInt = 16
    """Images a step for which `lr` is stated."""

    weight_decay: float = Field(ge=0)
    decay_norm_and_bias: bool = False
    """Apply weight decay to biases and normalisation parameters too."""

    decay_classifier_bias: bool = False
    """Apply weight decay to the classifiers' biases in any case (YOLOX-IP)."""

    lr_factors: dict[str, PositiveFloat] = Field(default={})
    """Pattern of parameter names -> factor on their learning rate, such as
    `{pyramid.backbone.*: 0.1}`; of several that match the last one counts."""

    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor on the backbone's learning rate from each layer (block) to the one before it, as
    pretrained transformers are fine-tuned; 1 trains all alike."""

    fused: Literal["auto"] | bool = "auto"
    """All of an update in one kernel; false leaves the choice to torch. auto: on GPUs only."""


class SgdConfig(OptimizerSection):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    lr: PositiveFloat = 0.02
    """Learning rate for `base_batch_size` images per step; scaled linearly to the real batch."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of the last update in the next."""

    nesterov: bool = False
    """Take the gradient's own step after that of the momentum (Nesterov)."""

    weight_decay: float = Field(default=1e-4, ge=0)
    """Factor on the weights that are added to their gradient."""


class AdamWConfig(OptimizerSection):
    """AdamW (Loshchilov and Hutter 2019)."""

    kind: Literal["adamw"]
    lr: PositiveFloat = 1e-4
    """Learning rate for `base_batch_size` images per step; scaled linearly to the real batch."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Share that stays at each step in the averages of the gradient and of its square."""

    weight_decay: float = Field(default=0.05, ge=0)
    """What a step takes off the weights, in parts of them, times the learning rate."""


OptimizerConfig = Annotated[SgdConfig | AdamWConfig, Field(discriminator="kind")]


class ScheduleSection(Section):
    """What every schedule has."""

    kept_by_every_choice: ClassVar[frozenset[str]] = frozenset(
        {"unit", "warmup", "warmup_factor", "warmup_power"}
    )

    unit: Literal["steps", "epochs"] = "steps"
    """What `warmup`, `milestones` and `constant_end` count."""

    warmup: float = Field(default=500, ge=0)
    """How long the learning rate rises at the beginning, in `unit`."""

    warmup_factor: float = Field(default=1e-3, ge=0, le=1)
    """Learning rate at the start of the warm-up, as a fraction."""

    warmup_power: PositiveFloat = 1.0
    """The warm-up rises with this power of time; 2 in YOLOX."""


class StepScheduleConfig(ScheduleSection):
    """Linear warm-up, then division by ten (or `factor`) at the milestones."""

    kind: Literal["step"] = "step"
    milestones: tuple[PositiveFloat, ...]
    """When the learning rate falls, in `unit`."""

    factor: float = Field(default=0.1, gt=0, lt=1)
    """On the learning rate at each milestone."""

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"`milestones` must rise, got {list(self.milestones)}")
        return self


class CosineScheduleConfig(ScheduleSection):
    """Linear warm-up, then half a cosine down to `final_factor`."""

    kind: Literal["cosine"]
    final_factor: float = Field(default=0.01, ge=0, le=1)
    """Learning rate at the end, as a fraction."""

    constant_end: float = Field(default=0, ge=0)
    """How long, in `unit`, it stays there; 15 epochs in YOLOX."""


ScheduleConfig = Annotated[StepScheduleConfig | CosineScheduleConfig, Field(discriminator="kind")]
