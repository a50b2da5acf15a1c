"""What does a detector cost? Its parameters, and the operations that one image takes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from dense_lt.models.detector import Detector
from dense_lt.structures import Batch, ImageBatch

COST_FILE = "cost.json"
"""Its name in a folder of evaluation results."""


@dataclass(frozen=True)
class Cost:
    """Facts of the detector, whatever machine it runs on."""

    parameters: int
    flops: int
    """Of one image, without masks of what was not found; a multiply-add counts twice."""
    input_size: tuple[int, int]
    """Height and width of that image as the network saw it, padding included."""

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


@torch.no_grad()
def measure_cost(detector: Detector, loader: Iterable[Batch], device: torch.device) -> Cost | None:
    """Count the operations of the first image of `loader`; None if it is empty.

    Convolutions and matrix products count, as `torch.utils.flop_counter` knows them; pooling,
    suppression and everything done once per element do not. Compiled parts run uncompiled.

    Args:
        detector: on `device`, in evaluation mode.
        loader: its first batch is read.
        device: where to compute.
    """
    batch = next(iter(loader), None)
    if batch is None:
        return None
    image = ImageBatch(batch.images.pixels[:1], batch.images.sizes[:1]).to(device)
    counter = FlopCounterMode(display=False)
    with torch.compiler.set_stance("force_eager"), counter:
        detector(image)
    height, width = image.pixels.shape[-2:]
    return Cost(
        parameters=sum(own.numel() for own in detector.parameters()),
        flops=counter.get_total_flops(),
        input_size=(height, width),
    )
