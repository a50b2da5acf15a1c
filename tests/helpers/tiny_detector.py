"""A detector of a few hundred parameters that keeps all the promises the engine relies on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dense_lt.balance.statistics import GradientStatistics
from dense_lt.models.detector import Detector
from dense_lt.structures import Batch, Detections, ImageBatch, ImageInfo, Losses, Target
from dense_lt.utils.distributed import normalizer_over_processes

NUM_CLASSES = 3
STRIDE = 8


class TinyDetector(Detector):
    """One convolution gives class logits per cell, another the box's size at its centre cell."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, STRIDE, stride=STRIDE)
        self.norm = nn.GroupNorm(2, 8)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(8, NUM_CLASSES, 1)
        self.sizes = nn.Conv2d(8, 2, 1)
        self.statistics = GradientStatistics(NUM_CLASSES)

    def forward(  # type: ignore[override]
        self,
        images: ImageBatch,
        targets: Sequence[Target] | None = None,
        *,
        normalizer: Tensor | None = None,
    ) -> Losses | list[Detections]:
        pixels = images.pixels.to(self.stem.weight.dtype) / 255
        features = self.dropout(functional.relu(self.norm(self.stem(pixels))))
        logits, sizes = self.classifier(features), self.sizes(features)
        assert targets is not None, "the engine never predicts"
        if normalizer is None:
            normalizer = normalizer_over_processes(self.count_positives(images, targets))
        wanted = torch.zeros_like(logits)
        box_cost = 0.0 * sizes.sum()
        for image, target in enumerate(targets):
            for box, label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True):
                row, column = (
                    int((box[1] + box[3]) / 2 / STRIDE),
                    int((box[0] + box[2]) / 2 / STRIDE),
                )
                wanted[image, label, row, column] = 1
                size = sizes.new_tensor([box[2] - box[0], box[3] - box[1]]) / STRIDE
                box_cost = box_cost + (sizes[image, :, row, column] - size).abs().sum()
        cost = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
        gradient = (logits.detach().sigmoid() - wanted).abs()
        self.statistics.note(
            (gradient * wanted).sum(dim=(0, 2, 3)),
            (gradient * (1 - wanted)).sum(dim=(0, 2, 3)),
            weight=1 / normalizer,
        )
        return {"classification": cost / normalizer, "box": box_cost / normalizer}

    def count_positives(self, images: ImageBatch, targets: Sequence[Target]) -> Tensor:
        return torch.tensor(float(sum(len(target["labels"]) for target in targets)))

    def summary(self) -> dict[str, object]:
        return {"parameters": sum(p.numel() for p in self.parameters())}


def draw_batch(size: int, seed: int, *, objects: Sequence[int] | None = None) -> Batch:
    """`size` images of 32 x 32 pixels, the i-th with `objects[i]` boxes (random without it)."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (size, 3, 32, 32), generator=generator, dtype=torch.uint8)
    targets: list[Target] = []
    for image in range(size):
        drawn = int(torch.randint(0, 4, (), generator=generator))
        count = drawn if objects is None else objects[image]
        corner = torch.rand(count, 2, generator=generator) * 16
        boxes = torch.cat([corner, corner + 4 + torch.rand(count, 2, generator=generator) * 8], 1)
        labels = torch.randint(0, NUM_CLASSES, (count,), generator=generator)
        targets.append({"boxes": boxes, "labels": labels})
    infos = [ImageInfo(seed * 100 + image, (32, 32), (32, 32)) for image in range(size)]
    return Batch(ImageBatch(pixels, ((32, 32),) * size), targets, infos)


def draw_batches(start: int = 0, size: int = 4) -> Iterator[Batch]:
    """Endless; the batch of optimizer step k + 1 depends on k alone.

    Draws a random number with its first batch, as a DataLoader draws the seed of its workers.
    """
    torch.rand(1)
    while True:
        yield draw_batch(size, seed=start)
        start += 1
