"""What the compiler makes of the Triton kernels for a Hopper GPU; needs none."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed")
SCRIPT = Path(__file__).parents[3] / "benchmarks" / "loss_sass.py"


def test_kernels_compile_for_sm_90_with_wide_accesses_and_no_spills():
    command = [sys.executable, str(SCRIPT), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
