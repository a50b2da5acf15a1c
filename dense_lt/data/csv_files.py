"""Large CSV files as columns, picked by name, some hundred thousand rows at a time.

No torch import: scoring needs this module.
"""

from __future__ import annotations

import csv
import difflib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dense_lt.utils.errors import DataError

ROWS = 250_000
"""Rows that are parsed at once."""

TEXT = "S40"
"""Names as bytes, UTF-8; those of Open Images have at most 16."""

BYTES = "latin-1"
"""Each byte is one letter, so that names of any alphabet become bytes: NumPy's take ASCII alone."""

NUMBER = "f8"
WHOLE = "i4"
FLAG = "i1"

Table = dict[str, NDArray[Any]]
"""Column name -> (n,)."""


def read_tables(path: Path, columns: Mapping[str, str], rows: int = ROWS) -> Iterator[Table]:
    """The wanted columns of a CSV file with a header, some rows at a time.

    Args:
        path: of the file; columns may stand in any order, others are passed over.
        columns: name -> TEXT, NUMBER, WHOLE or FLAG.
        rows: that are parsed at once.

    Raises:
        DataError: the file cannot be read, a column is missing, or a value is broken; the message
            names line and column.
    """
    try:
        with path.open(encoding=BYTES) as file:
            header = _split(file.readline().encode(BYTES).decode("utf-8-sig"))
            places = [_place(header, name, path) for name in columns]
            layout = np.dtype(list(columns.items()))
            done = 0
            while len(table := _parse(file, layout, places, rows, path, done)):
                done += len(table)
                yield {name: table[name] for name in columns}
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error


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
        with path.open(encoding="utf-8-sig") as file:
            return _split(file.readline())
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error


def lines_of(path: Path, rows: Iterable[int]) -> list[int]:
    """Lines of the file, from 1, on which rising `rows` stand: 0 is the first below the header."""
    lines, wanted = [], iter(rows)
    row = next(wanted, None)
    with path.open(encoding=BYTES) as file:
        filled = (line for line, text in enumerate(file, 1) if text.strip())
        for number, line in enumerate(filled, -1):
            while row == number:
                lines.append(line)
                row = next(wanted, None)
            if row is None:
                return lines
    raise ValueError(f"{path}: has no row {row}")


def unreadable(path: Path, error: OSError | UnicodeDecodeError) -> DataError:
    """What to raise for a file that cannot be read as text."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DataError(f"{path}: there is no such file; check the path")
    if isinstance(error, UnicodeDecodeError):
        return DataError(f"{path}: line {_first_unreadable(path)}: {NOT_UTF_8}")
    return DataError(f"{path}: cannot be read: {error}")


NOT_UTF_8 = "is not UTF-8 text; save the file as UTF-8"


def refuse_separators(path: Path, line: str) -> None:
    """Tell when a line of one value has several, separated by other things than commas.

    Raises:
        DataError: it has.
    """
    for mark, name in ((";", ";"), ("\t", "tabs")):
        if mark in line and "," not in line:
            raise DataError(f"{path}: values are separated by {name}; save it with commas")


def _first_unreadable(path: Path) -> int:
    """The first line that is not UTF-8, from 1."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def _split(line: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([line]), [])]


def shortened(header: list[str], longest: int = 100) -> str:
    """A header for a message: a file of another kind may have all its text in its first line."""
    text = ",".join(header)
    return text if len(text) <= longest else f"{text[:longest]}..."


def _place(header: list[str], name: str, path: Path) -> int:
    if name in header:
        return header.index(name)
    refuse_separators(path, ",".join(header))
    near = difflib.get_close_matches(name, header, 1)
    hint = f"; did you mean {near[0]!r} to be it?" if near else ""
    raise DataError(f"{path}: there is no column {name!r}; the header is {shortened(header)}{hint}")


def _parse(
    file: IO[str], layout: np.dtype[Any], places: list[int], rows: int, path: Path, done: int
) -> NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*contained no data")
            table = np.loadtxt(
                file,
                dtype=layout,
                delimiter=",",
                quotechar='"',
                usecols=places,
                max_rows=rows,
                comments=None,
                ndmin=1,
            )
    except ValueError as error:
        raise DataError(f"{path}: {_broken(path, layout, places, done) or error}") from error
    for name in layout.names or ():
        if layout[name].kind == "S":
            _check_texts(table[name], name, path, done)
    return table


def _check_texts(texts: NDArray[np.bytes_], name: str, path: Path, done: int) -> None:
    """Refuse names that may have been cut, and those that are no UTF-8."""
    letters = np.ascontiguousarray(texts).view(np.uint8).reshape(-1, texts.itemsize)
    wrong = np.flatnonzero(letters[:, -1])
    problem = f"{name} is longer than {texts.itemsize - 1} bytes; shorten it"
    if not len(wrong) and letters.max(initial=0) >= 0x80:
        foreign = np.flatnonzero((letters >= 0x80).any(axis=1))
        wrong, problem = foreign[[not _is_utf_8(one) for one in texts[foreign].tolist()]], NOT_UTF_8
    if len(wrong):
        (line,) = lines_of(path, [done + int(wrong[0])])
        raise DataError(f"{path}: line {line}: {problem}")


def _is_utf_8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _broken(path: Path, layout: np.dtype[Any], places: list[int], done: int) -> str | None:
    """The first value after `done` rows that is not what its column holds, in words."""
    (first,) = lines_of(path, [done])
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(islice(file, first - 1, None))
        for row in filter(None, reader):
            line = first - 1 + reader.line_num
            if len(row) <= max(places):
                needed = f"at least {max(places) + 1} are needed; complete or remove it"
                return f"line {line}: has {len(row)} values; {needed}"
            for name, place in zip(layout.names or (), places, strict=True):
                what = {"f": "a number", "i": "a whole number"}.get(layout[name].kind)
                if what and not _is(row[place], layout[name]):
                    return f"line {line}: {name} is {row[place]!r}; {what} is needed"
    return None


def _is(text: str, kind: np.dtype[Any]) -> bool:
    try:
        np.array(text.strip()).astype(kind)
    except (ValueError, OverflowError):
        return False
    return True
