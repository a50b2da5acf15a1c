"""Peak memory and time of a training step, by number of classes, image size and loss.

    python benchmarks/train_step.py --device cpu

Every figure comes from a process of its own: the improved one-stage baseline (ResNet-50, two priors
per location) on one image with ten objects, forward and backward. Memory is what the step needs at
its peak beyond the model. On a CPU it is resident memory, time is process CPU time of one thread,
and the C library is told to save pages for the one and time for the other.

The losses: `fused` makes classifier and loss together, `plain` keeps the logits, both by our
equalized focal loss; `eager` is its formula written out, with one-hot targets and a hook.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import loss_cases as cases
import torch
from loss_memory import resident
from torch import Tensor, nn

from dense_lt.config.losses import EqualizedFocalLossConfig
from dense_lt.config.model import DenseHeadConfig, OneStageConfig
from dense_lt.models.build import build_detector
from dense_lt.ops.sigmoid_loss.arguments import Modulation
from dense_lt.structures import ImageBatch, Target

SIZES = ((400, 672), (800, 1344))
CLASSES = (80, 365, 1203)
LOSSES = ("fused", "plain", "eager")
RETURN_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**17)}
"""To the C library: give back what is freed, so that resident memory is memory in use."""

KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
"""Keep what is freed, so that times are not those of fresh pages."""


class EagerLoss(nn.Module):
    """In the place of a classification loss: the formula of `loss_cases.eager_formula`."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = self.num_logits = num_classes
        self.needs_quality = self.federated = self.can_fuse = False

    def forward(
        self,
        logits: Sequence[Tensor],
        labels: Sequence[Tensor],
        normalizer: Tensor,
        *,
        quality: object = None,
        checked: object = None,
    ) -> Tensor:
        """As the published systems: levels are concatenated first."""
        weight = torch.ones(self.num_classes, device=normalizer.device)
        shape = Modulation(2 * weight, 0.25 * weight, 0.75 * weight)
        case = cases.Case(torch.cat(tuple(logits)), torch.cat(tuple(labels)), shape, normalizer)
        loss, _ = cases.eager_loss(case)
        return loss


def build(num_classes: int, loss: str, device: torch.device) -> nn.Module:
    """The detector, in channels-last memory."""
    torch.manual_seed(0)
    config = OneStageConfig(
        head=DenseHeadConfig(fused_loss=loss == "fused", prior_probability=0.001),
        loss=EqualizedFocalLossConfig(kind="equalized_focal"),
    )
    detector = build_detector(config, num_classes)
    if loss == "eager":
        detector.loss.classification = EagerLoss(num_classes)  # type: ignore[union-attr]
    return detector.to(device, memory_format=torch.channels_last).train()


def draw(size: tuple[int, int], num_classes: int) -> tuple[ImageBatch, list[Target]]:
    """One image with ten objects."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (1, 3, *size), generator=generator, dtype=torch.uint8)
    corners = torch.rand(10, 2, generator=generator) * torch.tensor([size[1], size[0]]) * 0.6
    sides = 20 + torch.rand(10, 2, generator=generator) * 120
    labels = torch.randint(0, num_classes, (10,), generator=generator)
    target = Target(boxes=torch.cat([corners, corners + sides], dim=1), labels=labels)
    return ImageBatch(pixels, (size,)), [target]


def measure(size: tuple[int, int], num_classes: int, loss: str, *, on: str, bf16: bool) -> dict:
    """Seconds and bytes of one step, after a step on a small image."""
    device = torch.device(on)
    torch.set_num_threads(1)
    detector = build(num_classes, loss, device)

    def step(images: ImageBatch, targets: list[Target]) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            losses = detector(images, targets)
        sum(losses.values()).backward()

    def on_device(size: tuple[int, int]) -> tuple[ImageBatch, list[Target]]:
        images, targets = draw(size, num_classes)
        moved = [Target({k: v.to(device) for k, v in t.items()}) for t in targets]  # type: ignore[misc]
        return images.to(device), moved

    step(*on_device((128, 128)))
    detector.zero_grad(set_to_none=True)
    batch = on_device(size)
    if device.type == "cuda":
        return _measure_on_cuda(step, batch)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark, anew
    before, start = resident("VmRSS"), time.process_time()
    step(*batch)
    return {"seconds": time.process_time() - start, "bytes": resident("VmHWM") - before}


def _measure_on_cuda(step, batch) -> dict:
    step(*batch)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before, start = torch.cuda.memory_allocated(), time.perf_counter()
    step(*batch)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "bytes": torch.cuda.max_memory_allocated() - before}


def in_a_process(
    arguments: argparse.Namespace, case: Sequence[str], environment: Mapping[str, str]
) -> dict[str, float]:
    """What `measure` finds for one case."""
    command = [sys.executable, __file__, "--device", arguments.device, "--case", *case]
    command += ["--bf16"] * arguments.bf16
    settings = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    output = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
    return json.loads(output.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--bf16", action="store_true", help="under autocast")
    parser.add_argument("--case", nargs=4, metavar=("HEIGHT", "WIDTH", "CLASSES", "LOSS"))
    arguments = parser.parse_args()
    if arguments.case:
        height, width, num_classes = map(int, arguments.case[:3])
        loss = arguments.case[3]
        case = ((height, width), num_classes, loss)
        print(json.dumps(measure(*case, on=arguments.device, bf16=arguments.bf16)))
        return
    head = " | ".join(f"{loss}, MiB | s" for loss in LOSSES)
    print(f"| image | classes | {head} |\n|---|---|" + "---|" * (2 * len(LOSSES)))
    for size in SIZES:
        for num_classes in CLASSES:
            cells = [f"{size[0]} x {size[1]}", f"{num_classes:,}"]
            for loss in LOSSES:
                case = [*map(str, size), str(num_classes), loss]
                extra = in_a_process(arguments, case, RETURN_MEMORY)["bytes"]
                seconds = in_a_process(arguments, case, KEEP_MEMORY)["seconds"]
                cells += [f"{extra / 2**20:,.0f}", f"{seconds:.2f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
