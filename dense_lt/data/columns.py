"""Arrays and bytes on disk, shared by all processes: between processes travels a path, not bytes.

Loader processes that are not forked get their data set pickled; whole arrays in that pickle would
be a copy in every one of them. No torch import: scoring needs this module.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

NPY_HEADER = 128
"""Bytes before the values."""


class Column(np.ndarray):
    """A mapped array; what is computed from it, or cut out of it, is an array like any other."""

    path: Path | None = None
    """Its file; None for parts of it."""

    def __array_wrap__(
        self, array: np.ndarray, context: Any = None, return_scalar: bool = False
    ) -> Any:
        return array.view(np.ndarray)[()]  # sums are numbers, as those of other arrays

    def __reduce_ex__(self, protocol: Any, /) -> Any:
        if self.path is None:
            return np.asarray(self).__reduce_ex__(protocol)
        return load_column, (self.path,)


def load_column(path: Path) -> Column:
    """Map the array that `np.save` wrote.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file.
    """
    is_empty = path.stat().st_size <= NPY_HEADER  # and cannot be mapped
    array = np.load(path, mmap_mode=None if is_empty else "r", allow_pickle=False)
    column = np.asarray(array).view(Column)
    column.path = path
    return column


class FileBytes:
    """The bytes of a file, read when they are asked for: `content[start:stop]`.

    They are not mapped: pages of a large file that one process alone has touched count as its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def __getitem__(self, span: slice) -> bytes:
        """Bytes `start` to `stop`; fewer at the end of the file."""
        return os.pread(self._file.fileno(), span.stop - span.start, span.start)

    def __reduce__(self) -> tuple[type[FileBytes], tuple[Path]]:
        return FileBytes, (self.path,)
