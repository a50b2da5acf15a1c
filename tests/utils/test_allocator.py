from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from dense_lt.utils import allocator

RESIDENT_AFTER_FREEING = """
from pathlib import Path
import torch
from dense_lt.utils.allocator import keep_freed_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
keep = {keep}
assert not keep or keep_freed_memory()
before = resident()
features = torch.ones(2**24)
del features
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an option of glibc")
@pytest.mark.parametrize("keep", [True, False])
def test_freed_memory_stays_with_the_process_only_if_wanted(keep):
    code = RESIDENT_AFTER_FREEING.format(keep=keep)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert (int(out.stdout) > 2**25) == keep


def test_a_library_without_the_option_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())

    assert not allocator.keep_freed_memory()
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert not allocator.keep_freed_memory()
