"""Large CSV files as columns, picked by name, a million rows at a time."""

from __future__ import annotations

import csv
import difflib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.utils.errors import DataError

ROWS = 1_000_000
"""Rows that are parsed at once."""

TEXT = "S40"
"""Names as bytes; those of Open Images have at most 16."""

NUMBER = "f8"

Table = dict[str, NDArray[Any]]
"""Column name -> (n,)."""


def read_tables(path: Path, columns: Mapping[str, str], rows: int = ROWS) -> Iterator[Table]:
    """The wanted columns of a CSV file with a header, some rows at a time.

    Args:
        path: of the file; columns may stand in any order, others are passed over.
        columns: name -> TEXT or NUMBER.
        rows: that are parsed at once.

    Raises:
        DataError: the file cannot be read, a column is missing, or a row is broken.
    """
    try:
        with path.open(encoding="utf-8") as file:
            header = [name.strip() for name in file.readline().split(",")]
            places = [_place(header, name, path) for name in columns]
            layout = np.dtype(list(columns.items()))
            done = 0
            while True:
                table = _parse(file, layout, places, rows, f"{path}: after row {done + 1}")
                if not len(table):
                    return
                done += len(table)
                yield {name: table[name] for name in columns}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def read_table(path: Path, columns: Mapping[str, str]) -> Table:
    """The wanted columns of a whole file; see `read_tables`."""
    parts = list(read_tables(path, columns))
    return {
        name: np.concatenate([np.zeros(0, kind), *(part[name] for part in parts)])
        for name, kind in columns.items()
    }


def column_names(path: Path) -> list[str]:
    """The header of a CSV file.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [name.strip() for name in next(csv.reader(file), [])]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _place(header: list[str], name: str, path: Path) -> int:
    if name in header:
        return header.index(name)
    near = difflib.get_close_matches(name, header, 1)
    hint = f"; did you mean {near[0]!r} to be it?" if near else ""
    raise DataError(f"{path}: there is no column {name!r}; the header is {','.join(header)}{hint}")


def _parse(
    file: Any, layout: np.dtype[Any], places: list[int], rows: int, where: str
) -> NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input contained no data")
            table = np.loadtxt(
                file,
                dtype=layout,
                delimiter=",",
                usecols=places,
                max_rows=rows,
                comments=None,
                ndmin=1,
            )
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    for name in layout.names or ():
        if layout[name].kind == "S" and _fills(table[name]):
            raise DataError(f"{where}: {name} is longer than {layout[name].itemsize - 1} bytes")
    return table


def _fills(texts: NDArray[Any]) -> bool:
    """Whether any text uses the last byte there is, so that it may have been cut."""
    width = texts.dtype.itemsize
    letters = np.ascontiguousarray(texts).view(np.uint8).reshape(-1, width)
    return bool(letters[:, -1].any())
