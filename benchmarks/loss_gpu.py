"""Time and memory of the classification losses on a CUDA device, against a copy of the same bytes.

    python benchmarks/loss_gpu.py

Runs the GPU tests first and prints tables then, a few minutes in all. Times are medians of rounds
in which the variants take turns, between events on the device, with logits larger than its caches.
The copy reads and writes the logits once, in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import loss_cases as cases
import torch

from dense_lt.ops.sigmoid_loss.arguments import Rows
from dense_lt.ops.sigmoid_loss.triton_backend import TritonLoss

ROOT = Path(__file__).parents[1]
ROWS_OF_AN_IMAGE = 22400
Variants = Mapping[str, Callable[[], object]]


def time_of(variants: Variants, rounds: int) -> dict[str, float]:
    """Median milliseconds of a call of each variant."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for call in variants.values():
        call()  # compiles
    for _ in range(rounds):
        for name, call in variants.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(5):
                call()
            end.record()
            end.synchronize()
            times[name].append(start.elapsed_time(end) / 5)
    return {name: statistics.median(values) for name, values in times.items()}


def memory_of(call: Callable[[], object]) -> int:
    """Bytes that a call needs at its peak over what is allocated before."""
    call()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def compare(title: str, variants: Variants, logits: torch.Tensor, rounds: int) -> None:
    """Print a table; the first variant is the yardstick."""
    times = time_of(variants, rounds)
    yardstick = next(iter(times))
    print(f"\n| {title} | ms | x {yardstick} | extra memory, x logits |\n|---|---|---|---|")
    for name, call in variants.items():
        extra = memory_of(call) / (logits.numel() * logits.itemsize)
        print(
            f"| {name} | {times[name]:.4f} | {times[name] / times[yardstick]:.3f} | {extra:.3f} |"
        )


def loss_variants(case: cases.Case) -> Variants:
    logits, target = case.logits.detach(), torch.empty_like(case.logits)
    loss = TritonLoss(case.modulation, 1 / case.normalizer)
    rows = Rows(case.labels)
    return {
        "copy": lambda: target.copy_(logits),
        "the kernels": lambda: loss.add(logits, rows, target),
        "loss and backward": cases.ours(case, "triton"),
        "loss and backward, in place": cases.ours_in_place(case, "triton"),
        "eager formula": cases.eager_formula(case),
    }


def head_variants(case: cases.Case, kernel: int) -> Variants:
    head = cases.HeadCase.draw(case, kernel=kernel)
    fused = {
        f"fused, {piece} locations at a time": cases.ours_fused(head, piece)
        for piece in (4096, 8192, 16384, 32768)
    }
    return {
        "products alone": cases.products_alone(head),
        "products + loss": cases.layer_and(head, cases.ours),
        **fused,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--classes", type=int, default=1203)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--skip-tests", action="store_true")
    arguments = parser.parse_args()
    if not arguments.skip_tests:
        tests = ROOT / "tests" / "ops" / "sigmoid_loss"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "",
            str(tests),
        ]  # with those for a GPU
        subprocess.run(command, cwd=ROOT, check=True)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    num_rows = arguments.images * ROWS_OF_AN_IMAGE
    for dtype in (torch.float32, torch.bfloat16):
        case = cases.Case.draw(num_rows, arguments.classes, dtype, "cuda")
        kind = f"{num_rows} x {arguments.classes}, {str(dtype).removeprefix('torch.')}"
        compare(kind, loss_variants(case), case.logits, arguments.rounds)
        for kernel in (1, 3):
            title = f"{kind}, {kernel}x{kernel} layer of 256 channels"
            compare(title, head_variants(case, kernel), case.logits, arguments.rounds)


if __name__ == "__main__":
    main()
