"""The whole of a run: model, data, optimizer, schedule, training, evaluation, and their rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from dense_lt.config.assigners import READS_PREDICTIONS
from dense_lt.config.averaging import WeightAverageConfig
from dense_lt.config.data import DataConfig
from dense_lt.config.detectors import ModelConfig
from dense_lt.config.model import OneStageConfig
from dense_lt.config.optimization import OptimizerConfig, ScheduleConfig, SgdConfig
from dense_lt.config.section import Section
from dense_lt.config.trackers import MlflowConfig, TrackerName, WandbConfig


class TrainConfig(Section):
    """How long, how many at once, and what is written on the way."""

    steps: PositiveInt | None = None
    """Optimizer steps; give this or `epochs`."""

    epochs: PositiveFloat | None = None
    """Passes over the sampler's epoch (longer than the data set under repeat factors)."""

    batch_size: PositiveInt = 16
    """Images per optimizer step, over all processes."""

    micro_batches: PositiveInt | Literal["auto"] = 1
    """Pieces into which a process cuts its share of a batch, to save memory. auto: one, and twice
    as many whenever a step does not fit into the GPU's memory, which is then made again."""

    activation_checkpointing: bool = False
    """Keep only the input of every block of the backbone and run it again in the backward pass:
    less memory for more time, with the same result."""

    clip_norm: float | None = Field(default=35.0, gt=0)
    """Largest L2 norm of the gradient; null does not clip."""

    ema: WeightAverageConfig | None = None
    """Average of the weights over time, to be evaluated and saved; null has none."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast of backbone, pyramid and head; losses and statistics stay in fp32."""

    channels_last: bool = True
    """Channels of a pixel lie side by side in memory, which most convolutions are faster with."""

    compile: bool | Literal["reduce-overhead"] = False
    """Compile backbone, pyramid and heads with torch.compile: slow first steps, faster later ones.
    Every new image size compiles again, up to a limit: resize to few sizes. reduce-overhead records
    a CUDA graph for each size, too."""

    sync_batch_norm: bool = False
    """Batch normalisation over the images of all processes instead of those of each; on GPUs."""

    log_every: PositiveInt = 20
    """Steps between two log lines."""

    checkpoint_every: PositiveInt = 1000
    """Steps between two checkpoints; one is always written at the end."""

    keep_checkpoints: PositiveInt = 2
    """How many of the latest checkpoints stay on disk."""

    keep_best: str | None = None
    """Metric (such as APr) whose best checkpoint among the evaluations (`evaluate_every`) stays as
    `best`; null keeps none."""

    evaluate_every: PositiveInt | None = None
    """Steps between two evaluations; null evaluates at the end only."""

    statistics_every: PositiveInt | None = None
    """Steps between two records of the gradient sums; null records them at evaluations only."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of `steps` and `epochs`; set the other to null")
        return self

    @model_validator(mode="after")
    def _compiles_or_recomputes(self) -> Self:
        if self.compile and self.activation_checkpointing:
            raise ValueError(
                "`compile` decides by itself what to compute again; set "
                "`activation_checkpointing: false`, or `compile: false`"
            )
        return self

    @model_validator(mode="after")
    def _records_one_piece(self) -> Self:
        if self.compile == "reduce-overhead" and self.micro_batches != 1:
            raise ValueError(
                "`compile: reduce-overhead`: a CUDA graph that runs again writes over gradients "
                "of the micro-batch before it; set `micro_batches: 1`, or `compile: true`"
            )
        return self

    @model_validator(mode="after")
    def _can_rehearse(self) -> Self:
        if self.micro_batches == "auto" and self.sync_batch_norm:
            raise ValueError(
                "`micro_batches: auto` needs steps that a process can try by itself, which "
                "`sync_batch_norm` makes impossible; give a number, or leave that out"
            )
        return self


Protocol = Literal["lvis", "fixed", "pool", "coco", "openimages", "openimages-expanded"]


class EvaluationConfig(Section):
    """What is predicted and how it is scored."""

    batch_size: PositiveInt = 16
    """Images per process and forward pass. They are padded to the largest of them, and group
    normalisation sees the padding, so another number changes scores a little."""

    iou_types: tuple[Literal["bbox", "segm"], ...] = Field(default=("bbox",), min_length=1)
    """What is scored: boxes, masks, or both; the first is the headline."""

    protocols: tuple[Protocol, ...] = Field(default=("lvis",), min_length=1)
    """Rules of scoring. fixed and pool take 10,000 detections of a class, however many in an image:
    they want `no_image_cap`. Open Images has openimages, its default, and openimages-expanded."""

    no_image_cap: bool = False
    """Predict as many objects in an image as there are candidates above the score threshold, and
    keep the best 10,000 of each class over all images, by thresholds that rise on the way."""

    max_detections: tuple[PositiveInt, ...] = Field(default=(300,), min_length=1)
    """Caps of detections per image; the first is the headline, the others are scored beside it."""

    images: PositiveInt | None = None
    """Evaluate only the first so many images, for a quick look; null takes all."""

    resamples: int = Field(default=1000, ge=0)
    """Draws of the images for the intervals around the final numbers; 0 makes none."""

    @model_validator(mode="after")
    def _caps_something(self) -> Self:
        if self.no_image_cap and not {"fixed", "pool"} & set(self.protocols):
            raise ValueError(
                "`no_image_cap` is for `protocols` that cap classes, fixed and pool, but none is "
                f"in {list(self.protocols)}; add one or leave `no_image_cap` out"
            )
        return self


class ExperimentConfig(Section):
    """One run from beginning to end."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")
    """Name of the run and of its folder below `output`."""

    output: Path = Path("runs")
    """Where the folders of runs lie, relative to where the command is given."""

    seed: int = Field(default=0, ge=0)
    """Of everything that chance decides: weights, order of images, augmentation, samples."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU where there is one."""

    threads: PositiveInt | None = None
    """CPU threads of torch in each process; null leaves torch's choice."""

    data: DataConfig = DataConfig()
    model: ModelConfig = OneStageConfig()
    optimizer: OptimizerConfig = SgdConfig()
    schedule: ScheduleConfig
    train: TrainConfig
    evaluation: EvaluationConfig = EvaluationConfig()

    trackers: tuple[TrackerName, ...] = ("tensorboard",)
    """Where numbers go beside `metrics.jsonl`: tensorboard, wandb, mlflow; or a list,
    [] for none."""

    wandb: WandbConfig = WandbConfig()
    mlflow: MlflowConfig = MlflowConfig()

    @field_validator("trackers", mode="before")
    @classmethod
    def _one_is_a_list(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @model_validator(mode="before")
    @classmethod
    def _fill_in_protocol(cls, given: Any) -> Any:
        """Score Open Images by its own rules unless something is said."""
        try:
            asked = {"protocols": ["openimages"], **given.get("evaluation", {})}
            is_open_images = given["data"]["dataset"]["kind"] == "openimages"
        except (AttributeError, KeyError, TypeError):  # not a mapping: told field by field
            return given
        return {**given, "evaluation": asked} if is_open_images else given

    @model_validator(mode="after")
    def _scored_by_its_rules(self) -> Self:
        is_open_images = self.data.dataset.kind == "openimages"
        fitting = {"openimages", "openimages-expanded"}
        wrong = [own for own in self.evaluation.protocols if (own in fitting) != is_open_images]
        if is_open_images and "segm" in self.evaluation.iou_types:
            raise ValueError("`evaluation.iou_types`: Open Images has boxes only; remove segm")
        if wrong:
            raise ValueError(
                f"`evaluation.protocols` has {', '.join(wrong)}, but `data.dataset.kind` is "
                f"{self.data.dataset.kind}; "
                + (
                    "use openimages, or convert the files with `dense-lt data convert`"
                    if is_open_images
                    else "those of Open Images need its own files"
                )
            )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        most = max(self.evaluation.max_detections)
        if most > self.model.inference.max_detections:
            raise ValueError(
                f"`evaluation.max_detections` asks for {most} detections an image but "
                f"`model.inference.max_detections` keeps {self.model.inference.max_detections}; "
                "raise the latter"
            )
        if "segm" in self.evaluation.iou_types and getattr(self.model, "mask", None) is None:
            raise ValueError(
                f"`evaluation.iou_types` contains segm but this {self.model.kind} model predicts "
                "no masks; remove it, or take a two_stage model with `model.mask`"
            )
        pieces = self.train.micro_batches
        if pieces != "auto" and self.train.batch_size % pieces:
            raise ValueError(
                f"`train.batch_size` {self.train.batch_size} is not divisible by "
                f"`train.micro_batches` {pieces}"
            )
        assigner = getattr(self.model, "assigner", None)
        if pieces != 1 and assigner and assigner.kind in READS_PREDICTIONS:
            raise ValueError(
                f"`model.assigner.kind: {assigner.kind}` reads predictions, so positives cannot be "
                "counted before the network runs; set `train.micro_batches: 1`"
            )
        if self.schedule.unit == "epochs" and self.train.epochs is None:
            raise ValueError(
                "`schedule.unit: epochs` needs `train.epochs` instead of `train.steps`"
            )
        return self

    @property
    def run_folder(self) -> Path:
        """Where everything this run writes goes."""
        return self.output / self.name
