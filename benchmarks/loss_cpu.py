"""CPU time of the classification losses, as multiples of `torch.sigmoid` of the same matrix.

    python benchmarks/loss_cpu.py --rows 8192 22400

One thread; process CPU time, minimum over rounds in which the variants take turns, so that
neighbours on the machine disturb all of them alike. The C library is told to keep freed memory:
otherwise fresh pages for every temporary dominate, which flatters whoever needs few of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Mapping

KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "OMP_NUM_THREADS": "1",
}
if any(os.environ.get(name) != value for name, value in KEEP_MEMORY.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP_MEMORY)

import loss_cases as cases  # noqa: E402 - the C library reads its settings at the start
import torch  # noqa: E402

Variants = Mapping[str, Callable[[], object]]


def measure(variants: Variants, rounds: int) -> dict[str, float]:
    """Milliseconds of CPU time of each variant."""
    best = dict.fromkeys(variants, float("inf"))
    for _ in range(rounds + 1):  # the first one warms up; a minimum does not mind
        for name, call in variants.items():
            start = time.process_time()
            call()
            best[name] = min(best[name], 1e3 * (time.process_time() - start))
    return best


def loss_variants(num_rows: int, num_classes: int, dtype: torch.dtype) -> Variants:
    case = cases.Case.draw(num_rows, num_classes, dtype)
    logits, target = case.logits.detach(), torch.empty(num_rows, num_classes, dtype=dtype)
    tiny = dataclasses.replace(
        case,
        logits=torch.full_like(logits, -9.4).requires_grad_(),
        modulation=case.modulation._replace(gamma=torch.full((num_classes,), 10.0)),
    )
    return {
        "copy": lambda: target.copy_(logits),
        "sigmoid": lambda: torch.sigmoid(logits, out=target),
        "chunked": cases.ours(case, "chunked"),
        "chunked, all q^gamma near 2^-126": cases.ours(tiny, "chunked"),
        "eager formula": cases.eager_formula(case),
    }


def head_variants(num_rows: int, num_classes: int, dtype: torch.dtype, kernel: int) -> Variants:
    case = cases.Case.draw(num_rows, num_classes, dtype)
    head = cases.HeadCase.draw(case, kernel=kernel)
    return {
        "products alone": cases.products_alone(head),
        "products + chunked": cases.layer_and(head, cases.ours),
        "fused": cases.ours_fused(head),
        "products + eager formula": cases.layer_and(head, cases.eager_formula),
    }


def table(title: str, times: Mapping[str, float], yardsticks: list[str]) -> str:
    head = " | ".join(["ms", *(f"x {name}" for name in yardsticks)])
    lines = [f"| {title} | {head} |", "|---|" + "---|" * (1 + len(yardsticks))]
    for name, value in times.items():
        ratios = " | ".join(f"{value / times[yardstick]:.2f}" for yardstick in yardsticks)
        lines.append(f"| {name} | {value:.1f} | {ratios} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[8192, 22400])
    parser.add_argument("--classes", type=int, default=1203)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kernels", type=int, nargs="*", default=[1])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for num_rows in arguments.rows:
        for dtype in (torch.float32, torch.bfloat16):
            kind = f"{num_rows} x {arguments.classes}, {str(dtype).removeprefix('torch.')}"
            variants = loss_variants(num_rows, arguments.classes, dtype)
            times = measure(variants, arguments.rounds)
            print(table(kind, times, ["copy", "sigmoid", "chunked"]), end="\n\n", flush=True)
            for kernel in arguments.kernels:
                variants = head_variants(num_rows, arguments.classes, dtype, kernel)
                times = measure(variants, arguments.rounds)
                title = f"{kind}, {kernel}x{kernel} layer of 256 channels"
                print(table(title, times, ["products alone"]), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
