"""Time of pooling regions on a CPU, forward and backward, against torchvision's RoIAlign.

    python benchmarks/roi_align.py

One thread, process CPU time, the least of several rounds that take turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import roi_align as torchvision_roi_align

from dense_lt.ops.roi_align import roi_align

CASES = {
    # images, channels, height and width of the map, regions, cells, stride, points a cell and axis
    "drawing, boxes": (16, 64, 20, 20, 768, 5, 4, 1),
    "drawing, masks": (16, 64, 20, 20, 192, 7, 4, 1),
    "Mask R-CNN, boxes": (1, 256, 200, 334, 512, 7, 4, 2),
    "Mask R-CNN, boxes, as many points as pixels": (1, 256, 200, 334, 512, 7, 4, 0),
}
SIDES = (28, 112)
"""Of regions in pixels, as many as one level of a pyramid pools."""


def main() -> None:
    """Print milliseconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print("| case | torchvision, ms | ours, ms | ratio |\n|---|---|---|---|")
    for name, case in CASES.items():
        inputs = make(*case)
        times = {pool: float("inf") for pool in (torchvision_roi_align, roi_align)}
        for _ in range(rounds):
            for pool in times:
                times[pool] = min(times[pool], seconds(pool, *inputs, *case[5:]))
        theirs, ours = times.values()
        print(f"| {name} | {1e3 * theirs:.1f} | {1e3 * ours:.1f} | {ours / theirs:.2f} |")


def make(
    images: int, channels: int, height: int, width: int, regions: int, *rest: int
) -> tuple[Tensor, Tensor]:
    """A map and regions of SIDES in it, image after image."""
    stride = rest[1]
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(images, channels, height, width, generator=generator)
    low, high = SIDES
    extent = low + (high - low) * torch.rand(regions, 2, generator=generator)
    extent = extent.clamp(max=stride * min(height, width) / 2)
    room = torch.tensor([width * stride, height * stride]) - extent
    corner = torch.rand(regions, 2, generator=generator) * room
    image = torch.arange(regions) % images
    return features, torch.cat([image[:, None].float(), corner, corner + extent], dim=1)


def seconds(
    pool: Callable[..., Tensor],
    features: Tensor,
    rows: Tensor,
    size: int,
    stride: int,
    points: int,
) -> float:
    """Process time of a forward and a backward pass."""
    own = features.clone().requires_grad_()
    start = time.process_time()
    pooled = pool(own, rows, size, 1 / stride, points, True)
    pooled.backward(torch.ones_like(pooled))
    return time.process_time() - start


if __name__ == "__main__":
    main()
