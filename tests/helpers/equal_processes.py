"""Fifty steps of both kinds of detector by any number of processes that share each batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from helpers.tiny_two_stage import build, squares

from dense_lt.config.model import OneStageConfig
from dense_lt.data.sampling import chance_at
from dense_lt.engine.pieces import split_batch
from dense_lt.engine.step import TrainingStep
from dense_lt.models.build import build_detector
from dense_lt.models.detector import Detector
from dense_lt.structures import Batch, ImageInfo
from dense_lt.utils import distributed

STEPS = 50
LR = 2e-5
"""Low, so that no difference grows; see `in_float64`."""
SIZE = (32, 64)
EMPTY = ((), (3,), (0, 1), (0, 1, 2, 3))
"""Images without objects, in turn: none, one process of four, one of two, all."""

ONE_STAGE = {
    "backbone": {
        "name": "resnet18",
        "norm": "group",
        "options": {"channels": [8, 8, 16, 16], "layers": [1, 1, 1, 1]},
    },
    "pyramid": {"levels": (3, 4), "backbone_levels": (3, 4), "channels": 16},
    "priors": {"sizes": (16.0, 24.0)},
    "head": {"channels": 16, "num_convs": 1, "norm_groups": 4, "prior_probability": 0.1},
    "loss": {"kind": "equalized_focal"},
}


def make_one_stage() -> Detector:
    torch.manual_seed(0)
    return build_detector(OneStageConfig.model_validate(ONE_STAGE), 4)


def make_two_stage() -> Detector:
    return build(0, loss={"kind": "eql_v2"})


@contextmanager
def in_float64() -> Iterator[None]:
    """Also what is computed in float32 whatever the weights are.

    Which proposals survive is a matter of comparisons: a rounding of 1e-7 decides some of them
    within 50 steps, in one process too, and then the runs part. Of 1e-16 it decides none.
    """
    single, default = torch.Tensor.float, torch.get_default_dtype()
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.Tensor.float = single  # type: ignore[method-assign]
        torch.set_default_dtype(default)


MAKERS = {"one_stage": make_one_stage, "two_stage": make_two_stage}


def draw_batch(number: int) -> Batch:
    """Four images; each knows its place in the stream, as those of a loader do."""
    images, targets = squares(4, number, SIZE)
    for place, target in enumerate(targets):
        if place in EMPTY[number % len(EMPTY)]:
            target.update(boxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64))
        target["chance"] = chance_at(0, 4 * number + place)
    infos = [ImageInfo(4 * number + place, SIZE, SIZE) for place in range(4)]
    return Batch(images, targets, infos)


def train(model: str) -> dict[str, Any]:
    """What must not depend on how many processes share the batches; also of the first step."""
    detector = MAKERS[model]()
    start = _copies(detector)
    torch.manual_seed(distributed.rank())  # of no use to the others
    optimizer = torch.optim.SGD(detector.parameters(), lr=LR, momentum=0.9)
    optimizer.param_groups[0]["initial_lr"] = LR
    step = TrainingStep(
        detector, optimizer, lambda done: 1.0, device=torch.device("cpu"), clip_norm=10.0
    )
    gradients: dict[str, torch.Tensor] = {}
    handle = optimizer.register_step_pre_hook(lambda *_: gradients.update(_gradients(detector)))
    losses, norms = [], []
    for number in range(1, STEPS + 1):
        share = split_batch(draw_batch(number), distributed.world_size())[distributed.rank()]
        result = step(share, number)
        handle.remove()
        total = torch.stack([result.losses[name].double() for name in sorted(result.losses)])
        losses.append(distributed.mean_over_processes(total))
        norms.append(result.gradient_norm.double())
    return {
        "losses": torch.stack(losses),
        "norms": torch.stack(norms),
        "gradients": gradients,
        "start": start,
        "state": _copies(detector),
    }


def _copies(detector: Detector) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in detector.state_dict().items()}


def _gradients(detector: Detector) -> dict[str, torch.Tensor]:
    named = detector.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def train_both() -> dict[str, Any]:
    with in_float64():
        two_stage = train("two_stage")
    return {"one_stage": train("one_stage"), "two_stage": two_stage}
