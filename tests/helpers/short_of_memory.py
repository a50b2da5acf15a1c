"""Two processes, of which only the second has too little memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from helpers.shared_steps import make_step
from helpers.tiny_detector import TinyDetector, draw_batch
from torch import Tensor

from dense_lt.engine.pieces import MemoryFit
from dense_lt.engine.step import TrainingStep
from dense_lt.structures import Batch, ImageBatch, Losses, Target
from dense_lt.utils import distributed


class ShortOfMemory(TinyDetector):
    """Runs out of it from `most` pixels on."""

    most = 10**9

    def forward(  # type: ignore[override]
        self,
        images: ImageBatch,
        targets: Sequence[Target] | None = None,
        *,
        normalizer: Tensor | None = None,
    ) -> Losses:
        if images.pixels.numel() > self.most:
            raise torch.OutOfMemoryError("out of memory")
        found = super().forward(images, targets, normalizer=normalizer)
        assert isinstance(found, dict)
        return found


def rehearse_with_little_memory() -> dict[str, Any]:
    """Four steps, the last with larger images: pieces after each, and the state after three.

    "wanted" is that state where all are cut into two pieces from the start.
    """
    found = _make(None)
    if distributed.rank():
        found.detector.most = 2 * 3 * 32 * 32  # type: ignore[assignment]
    wanted = _make(2)
    pieces, states = [], {}
    for number in (1, 2, 3, 4):
        batch = draw_batch(4, number + 10 * distributed.rank())
        found(_larger(batch) if number == 4 else batch, number)
        assert found.fit is not None
        pieces.append(found.fit.pieces)
        if number < 4:
            wanted(batch, number)
        if number == 3:
            steps = {"found": found, "wanted": wanted}
            for name, step in steps.items():
                states[name] = {k: v.clone() for k, v in step.detector.state_dict().items()}
    return {"pieces": pieces, **states}


def _make(pieces: int | None) -> TrainingStep:
    torch.manual_seed(0)
    detector = ShortOfMemory().double()
    return make_step(detector, micro_batches=MemoryFit(detector) if pieces is None else pieces)


def _larger(batch: Batch) -> Batch:
    """The same with twice the height of padding."""
    images, targets, infos = batch
    pixels = torch.cat([images.pixels, torch.zeros_like(images.pixels)], dim=2)
    return Batch(ImageBatch(pixels, images.sizes), targets, infos)
