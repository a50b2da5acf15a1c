"""Compile the Triton kernels of the loss for sm_90, without a GPU, and count instructions.

    python benchmarks/loss_sass.py

Uses the installed Triton with the assembler and disassembler that come with it. The dense kernel
has two loops: the first serves calls without ignored rows, the usual case, the second the others.
With --check the exit code tells whether accesses are 128 bits wide, nothing is spilt, and the usual
loop takes at most 27 instructions an entry, 3 of them on the slow exponential unit.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dense_lt.ops.sigmoid_loss import triton_backend as backend
from dense_lt.ops.sigmoid_loss import triton_kernels as kernels
from dense_lt.ops.sigmoid_loss.triton_positives import finish_positives

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
LABEL = re.compile(r"^(\.L_x_\d+):")
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+\s+)?([A-Z][A-Z0-9_.]*)\s*(.*?)\s*;")

POINTERS = {
    **dict.fromkeys(("gamma_ptr", "log2_weight_ptr", "weight_ptr", "scale_ptr"), "*fp32"),
    **dict.fromkeys(("sums_ptr", "hidden_ptr", "quality_ptr", "factor_ptr"), "*fp32"),
    **dict.fromkeys(("valid_ptr", "some_ignored_ptr"), "*i32"),
    **dict.fromkeys(("groups_ptr", "labels_ptr", "positive_ptr"), "*i64"),
    "losses_ptr": "*fp64",
}
DENSE = {
    "WRITE": True,
    "APPROXIMATE": True,
    "BLOCK_ROWS": backend.BLOCK_ROWS,
    "BLOCK_COLUMNS": backend.BLOCK_COLUMNS,
}
SPARSE = {"QUALITY": True, "WRITE": True, "RESTORE": True, "BLOCK": backend.ROWS_FOR_POSITIVES}
ENTRIES_PER_THREAD = backend.BLOCK_ROWS * backend.BLOCK_COLUMNS // (32 * backend.WARPS)


def compile_kernel(kernel: triton.JITFunction, element: str, **constants: object) -> bytes:
    """Machine code for logits of type `element` (bf16 or fp32)."""
    names = kernel.arg_names
    logits = dict.fromkeys(("z_ptr", "g_ptr", "values_ptr"), f"*{element}")
    types = {**POINTERS, **logits, **dict.fromkeys(constants, "constexpr")}
    divisible = [name for name in names if name.endswith("_ptr") or name == "WIDTH"]
    if "num_columns" in names:
        divisible.append("num_columns")  # whole super-rows
    source = ASTSource(
        kernel,
        signature={name: types.get(name, "i32") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in divisible},
    )
    options = {"num_warps": backend.WARPS}
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    return compiled.asm["cubin"]


def run_tool(name: str, cubin: bytes, *arguments: str) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(TOOLS / name), *arguments, file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def loops(code: str) -> list[Counter[str]]:
    """Operations of every loop, that is, from a label to a branch back to it."""
    found, starts, operations = [], {}, []
    for line in code.splitlines():
        if label := LABEL.match(line.strip()):
            starts[label.group(1)] = len(operations)
        if instruction := INSTRUCTION.search(line):
            operation, operands = instruction.groups()
            operations.append(operation)
            target = re.search(r"\.L_x_\d+", operands)
            if operation == "BRA" and target and target.group() in starts:
                found.append(Counter(operations[starts[target.group()] :]))
    return [loop for loop in found if len(loop) > 1]  # a branch to itself ends every kernel


def resources(cubin: bytes) -> tuple[int, int]:
    """Registers per thread, and bytes per thread that did not fit into them."""
    usage = run_tool("cuobjdump", cubin, "--dump-resource-usage")
    registers, stack, local = (
        int(re.search(rf"{name}:(\d+)", usage).group(1))  # type: ignore[union-attr]
        for name in ("REG", "STACK", "LOCAL")
    )
    return registers, stack + local


def accesses(loop: Counter[str]) -> str:
    """Which loads and stores of the matrix a loop has."""
    wide = sum(loop[name] for name in loop if re.match(r"(LDG|STG)\.E(\.\w+)*\.128", name))
    return f"{wide} of 128 bits, {sum(loop[n] for n in loop if re.match(r'(LDG|STG)', n))} in all"


def dense_row(element: str, degree: int) -> tuple[str, bool]:
    cubin = compile_kernel(kernels.sum_negatives, element, DEGREE=degree, GROUPED=False, **DENSE)
    registers, spilt = resources(cubin)
    usual, with_ignored = loops(run_tool("nvdisasm", cubin, "-c"))[:2]
    counts = [sum(loop.values()) / ENTRIES_PER_THREAD for loop in (usual, with_ignored)]
    exponentials = usual["MUFU.EX2"] / ENTRIES_PER_THREAD
    text = (
        f"| {element} | {counts[0]:.1f} | {counts[1]:.1f} | {exponentials:.0f} | {registers} "
        f"| {spilt} | {accesses(usual)} |"
    )
    wide = usual["LDG.E.128"] and usual["STG.E.128"]
    return text, bool(wide) and not spilt and counts[0] <= 27 and exponentials == 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail if a limit is passed")
    arguments = parser.parse_args()
    print(
        "| logits | instructions/entry | with ignored rows | exponentials/entry | registers "
        "| bytes spilt | global accesses of the loop |\n|---|---|---|---|---|---|---|"
    )
    good = True
    for element, degree in (("bf16", 6), ("fp32", 7)):
        text, fine = dense_row(element, degree)
        print(text)
        good &= fine
    print()
    others = {
        kernels.hide_positives: {"BLOCK": kernels.SUPERS_PER_PROGRAM},
        finish_positives: SPARSE,
        kernels.multiply: {"BLOCK": 4096},
        kernels.sum_negatives: {**DENSE, "DEGREE": 6, "GROUPED": True},
    }
    for kernel, constants in others.items():
        registers, spilt = resources(compile_kernel(kernel, "bf16", **constants))
        name = kernel.__name__ + (" with groups" if constants.get("GROUPED") else "")
        print(f"{name}: compiles, {registers} registers, {spilt} bytes spilt")
        good &= not spilt
    return int(arguments.check and not good)


if __name__ == "__main__":
    sys.exit(main())
