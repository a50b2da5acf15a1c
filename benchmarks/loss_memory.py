"""Extra peak memory of the classification losses on a CPU, as multiples of the logits.

    python benchmarks/loss_memory.py --rows 22400

Every variant runs in a process of its own (Linux): the high-water mark of its resident memory
during one call, less what was resident before, when inputs were there and a small call had loaded
the libraries. A gradient that is returned counts, logits that were there before do not.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import loss_cases as cases
import torch

Make = Callable[[cases.Case], Callable[[], object]]


def layer(kernel: int, loss: Make) -> Make:
    """A convolution in front of a loss."""
    return lambda case: cases.layer_and(cases.HeadCase.draw(case, kernel=kernel), loss)


def fused(kernel: int) -> Make:
    """A convolution and our loss in one."""
    return lambda case: cases.ours_fused(cases.HeadCase.draw(case, kernel=kernel))


MAKE: dict[str, Make] = {
    "chunked": lambda case: cases.ours(case, "chunked"),
    "chunked, in place": lambda case: cases.ours_in_place(case, "chunked"),
    "eager formula": cases.eager_formula,
    "1x1 layer + chunked": layer(1, cases.ours),
    "1x1 layer + eager formula": layer(1, cases.eager_formula),
    "1x1 layer, fused": fused(1),
    "3x3 layer + chunked": layer(3, cases.ours),
    "3x3 layer + eager formula": layer(3, cases.eager_formula),
    "3x3 layer, fused": fused(3),
}


def resident(field: str) -> int:
    """Bytes: VmRSS, what is resident, or VmHWM, the most that ever was."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", status).group(1))  # type: ignore[union-attr]


def measure(variant: str, num_rows: int, num_classes: int, dtype: torch.dtype) -> int:
    """Bytes that one call needs, in this process."""
    torch.set_num_threads(1)
    MAKE[variant](cases.Case.draw(128, num_classes, dtype))()
    call = MAKE[variant](cases.Case.draw(num_rows, num_classes, dtype))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the mark starts anew
    before = resident("VmRSS")
    result = call()
    after = resident("VmHWM")
    del result
    return after - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=22400)
    parser.add_argument("--classes", type=int, default=1203)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"])
    parser.add_argument("--variant", choices=MAKE, help="only this one, in this process")
    arguments = parser.parse_args()
    size = (arguments.rows, arguments.classes)
    if arguments.variant:
        print(measure(arguments.variant, *size, getattr(torch, arguments.dtype)))
        return
    print(
        "| extra peak memory | MiB, fp32 | x logits | MiB, bf16 | x logits |\n|---|---|---|---|---|"
    )
    for variant in MAKE:
        cells = []
        for dtype, item in (("float32", 4), ("bfloat16", 2)):
            command = [sys.executable, __file__, "--variant", variant, "--dtype", dtype]
            command += ["--rows", str(size[0]), "--classes", str(size[1])]
            # the C library gives back what is freed, so that resident memory is memory in use
            settings = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**17)}
            done = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
            extra = int(done.stdout)
            cells += [f"{extra / 2**20:.0f}", f"{extra / (item * size[0] * size[1]):.2f}"]
        print(f"| {variant} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
