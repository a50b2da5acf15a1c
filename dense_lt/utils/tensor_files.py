"""Tensors in a safetensors file."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def save_tensors(
    tensors: dict[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write `tensors`, contiguous and of memory of their own, as a file like any other.

    safetensors by itself makes one that its owner alone may read, whatever the umask says.
    """
    path.write_bytes(b"")  # asks the umask, which cannot be read without setting it
    mode = stat.S_IMODE(path.stat().st_mode)
    save_file(tensors, path, dict(metadata) if metadata else None)
    path.chmod(mode)
