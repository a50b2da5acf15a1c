"""A few steps of a small head, by one process, by several, or in micro-batches."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dense_lt.balance.statistics import commit_all
from dense_lt.config.losses import ClassificationLossConfig
from dense_lt.losses.build import build_classification_loss
from dense_lt.ops.matching import BACKGROUND, IGNORE

IMAGES, CLASSES, SIZE, STEPS = 4, 5, (6, 5), 3


class SmallHead(nn.Module):
    """A convolution, a classifier with two priors per location, and a loss."""

    def __init__(self, kind: str, *, fused: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        section = TypeAdapter(ClassificationLossConfig).validate_python({"kind": kind})
        self.loss = build_classification_loss(section, CLASSES)
        self.trunk = nn.Conv2d(3, 4, 3, padding=1)
        self.classifier = nn.Conv2d(4, 2 * self.loss.num_logits, 3, padding=1)
        self.fused = fused

    def forward(self, images: Tensor, labels: Tensor, normalizer: Tensor) -> Tensor:
        features = self.trunk(images)
        if self.fused:
            return self.loss.fused([features], [self.classifier], [labels.flatten()], normalizer)
        logits = self.classifier(features).permute(0, 2, 3, 1)
        return self.loss(logits.reshape(-1, self.loss.num_logits), labels.flatten(), normalizer)


def draw_batch(step: int) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) and labels (B, H*W*2); images have different numbers of positives."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(IMAGES, 3, *SIZE, generator=generator)
    shape = (IMAGES, SIZE[0] * SIZE[1] * 2)
    labels = torch.randint(0, CLASSES, shape, generator=generator)
    fate = torch.rand(shape, generator=generator)
    labels[fate > 0.1 * torch.arange(IMAGES)[:, None]] = BACKGROUND
    labels[fate > 0.95] = IGNORE
    return images, labels


def train(
    kind: str, *, fused: bool = False, micro_batches: int = 1, rank: int = 0, world_size: int = 1
) -> dict[str, Tensor]:
    """Gradients of the last step, losses (summed over all that shared a step), statistics."""
    head = SmallHead(kind, fused=fused)
    model = DistributedDataParallel(head) if world_size > 1 else head
    optimizer = torch.optim.SGD(head.parameters(), lr=0.05)
    losses = []
    for step in range(STEPS):
        images, labels = draw_batch(step)
        per_process = (labels >= 0).sum() / world_size
        optimizer.zero_grad()
        total = torch.zeros(())
        own = slice(rank * IMAGES // world_size, (rank + 1) * IMAGES // world_size)
        for piece in zip(*(x[own].chunk(micro_batches) for x in (images, labels)), strict=True):
            # all pieces are divided by the positives of the whole step, so their sum is its loss
            loss = model(*piece, per_process)
            loss.backward()
            total += loss.detach() / world_size
        if world_size > 1:
            dist.all_reduce(total)
        losses.append(total)
        optimizer.step()
        commit_all(model, weight=1 / world_size)
    return {
        "losses": torch.stack(losses),
        "positive": head.loss.statistics.positive,
        "negative": head.loss.statistics.negative,
        "ratio": head.loss.statistics.ratio(),
        **{f"gradient of {n}": p.grad for n, p in head.named_parameters() if p.grad is not None},
    }


def train_in_processes(
    folder: Path, world_size: int, cases: Sequence[tuple[str, bool]]
) -> list[dict[str, Tensor]]:
    """What `train` gives in `world_size` gloo processes for each (kind, fused) of `cases`.

    All cases in the same processes, because starting them takes longer than training.
    """
    mp.spawn(_child, (world_size, folder, cases), nprocs=world_size)
    return torch.load(folder / "results.pt")


def _child(rank: int, world_size: int, folder: Path, cases: Sequence[tuple[str, bool]]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size
    )
    results = [train(kind, fused=fused, rank=rank, world_size=world_size) for kind, fused in cases]
    if rank == 0:
        torch.save(results, folder / "results.pt")
    dist.destroy_process_group()
