"""The same few optimizer steps, by any number of processes that share each batch."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import torch
from helpers.tiny_detector import NUM_CLASSES, TinyDetector, draw_batch

from dense_lt.config.model import OneStageConfig
from dense_lt.data.categories import CategoryTable
from dense_lt.engine.checkpoint import latest_checkpoint, load_checkpoint
from dense_lt.engine.checkpoint_writer import CheckpointWriter
from dense_lt.engine.pieces import split_batch
from dense_lt.engine.signals import StopSignal
from dense_lt.engine.step import TrainingStep
from dense_lt.models.build import build_detector
from dense_lt.models.detector import Detector
from dense_lt.utils import distributed

CPU = torch.device("cpu")

OBJECTS = ((3, 0, 1, 2), (2, 1, 0, 0), (0, 0, 0, 0), (0, 0, 1, 0))
"""Objects of the four images of each step: with two processes the second is empty in step 2, both
are in step 3, and in step 4 there is less than one object a process."""

ONE_STAGE = {
    "backbone": {
        "name": "resnet18",
        "norm": "group",
        "options": {"channels": [8, 8, 16, 16], "layers": [1, 1, 1, 1]},
    },
    "pyramid": {"levels": (3, 4), "backbone_levels": (3, 4), "channels": 16},
    "priors": {"sizes": (8.0, 12.0)},
    "head": {"channels": 16, "num_convs": 1, "norm_groups": 4, "prior_probability": 0.1},
    "loss": {"kind": "equalized_focal"},
}


def make_tiny() -> Detector:
    torch.manual_seed(0)
    return TinyDetector().double()


def make_one_stage(*, weighting: str = "iou") -> Detector:
    """The real one-stage detector; its losses are float32."""
    torch.manual_seed(0)
    settings = {**ONE_STAGE, "box_loss": {"kind": "giou", "weighting": weighting}}
    return build_detector(OneStageConfig.model_validate(settings), NUM_CLASSES)


def make_one_stage_unweighted() -> Detector:
    """Its box loss is divided by positives alone, so that it can be cut into micro-batches."""
    return make_one_stage(weighting="none")


MAKERS = {
    "tiny": make_tiny,
    "one_stage": make_one_stage,
    "one_stage_unweighted": make_one_stage_unweighted,
}


def make_step(detector: Detector, **options: Any) -> TrainingStep:
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.05, momentum=0.9)
    for group in optimizer.param_groups:
        group["initial_lr"] = 0.05
    return TrainingStep(detector, optimizer, lambda done: 1.0, device=CPU, clip_norm=5.0, **options)


def train_share(model: str, micro_batches: int) -> dict[str, Any]:
    """Train with this process's share of every batch; what must not depend on the sharing."""
    step = make_step(MAKERS[model](), micro_batches=micro_batches)
    losses, norms = [], []
    for number, objects in enumerate(OBJECTS, start=1):
        batch = draw_batch(4, number, objects=objects)
        share = split_batch(batch, distributed.world_size())[distributed.rank()]
        result = step(share, number)
        total = torch.stack([result.losses[name].double() for name in sorted(result.losses)])
        losses.append(distributed.mean_over_processes(total))
        norms.append(result.gradient_norm.double())
    state = {name: tensor.clone() for name, tensor in step.detector.state_dict().items()}
    return {"losses": torch.stack(losses), "norms": torch.stack(norms), "state": state}


def fail_in_the_second() -> str:
    """A loss that is not finite in one process only: the message each one stops with."""
    step = make_step(make_tiny())
    if distributed.rank() == 1:
        step.detector.get_parameter("sizes.bias").data.fill_(math.inf)
    try:
        step(draw_batch(2, 1, objects=(1, 1)), 1)
    except FloatingPointError as error:
        return str(error)
    return "finished"


def stop_the_second() -> int | None:
    """One process is asked to stop: what all of them agree on."""
    with StopSignal() as stop:
        assert stop.agreed(CPU) is None
        if distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        agreed = stop.agreed(CPU)
    return None if agreed is None else int(agreed)


def save_together(folder: str) -> int:
    """Processes with different random states save one checkpoint; how many states it holds."""
    step = make_step(make_tiny())
    torch.manual_seed(distributed.rank())
    table = CategoryTable(("a",), (1,), (1,), (1,), ("rare",))
    writer = CheckpointWriter(
        Path(folder) / "checkpoints",
        step.detector,
        step.optimizer,
        batch_size=4,
        keep=1,
        categories=table,
        config={},
    )
    writer(1)
    writer.close()
    distributed.barrier()
    states = load_checkpoint(latest_checkpoint(Path(folder))).random_states
    own = states[distributed.rank()]["torch"]
    assert torch.equal(own, torch.get_rng_state()), "each process finds its own state"
    return len(states)


def everything(folder: str) -> dict[str, Any]:
    """All of it in one go, because starting processes takes seconds."""
    return {
        "tiny": train_share("tiny", 1),
        "tiny in pieces": train_share("tiny", 2),
        "one_stage": train_share("one_stage", 1),
        "one_stage in pieces": train_share("one_stage_unweighted", 2),
        "failure": fail_in_the_second(),
        "stopped": stop_the_second(),
        "states": save_together(folder),
    }
