"""Large JSON files, read with little memory and without the cyclic garbage collector.

msgspec parses in a quarter of the time of Python's own parser. What it refuses (NaN, which is not
JSON) Python's parser looks at, and explains.
"""

from __future__ import annotations

import contextlib
import gc
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from dense_lt.utils.errors import DataError

PIECE = 1 << 18
"""Bytes of a long list that are parsed at once; what comes of so few stays in cache."""

_MARK = b"\xef\xbb\xbf"
"""Byte order mark, which some editors put before UTF-8."""

_BETWEEN = re.compile(rb"\}\s*,\s*(?=\{)")
"""The end of one object of a list, and the comma."""


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Look for no cycles meanwhile: JSON has none, and looking takes 40% of the time of parsing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read_json(path: Path, *, needed: msgspec.json.Decoder[Any] | None = None) -> Any:
    """Parse a whole file.

    Args:
        path: of the file.
        needed: builds only the parts that are needed: outlines are most of an annotation file, and
            boxes do not need them. A file that it refuses is parsed whole.

    Raises:
        DataError: it is missing or not JSON.
    """
    try:
        with no_garbage_collection():
            text = path.read_bytes().removeprefix(_MARK)
            if needed is not None:
                with contextlib.suppress(msgspec.DecodeError):
                    return needed.decode(text)
            return _loads(text)
    except OSError as error:
        raise DataError(f"{path}: {_why_unread(error)}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error


def read_records(path: Path, piece: int = PIECE) -> Iterator[list[Any]]:
    """Parse a file that holds one list, about `piece` bytes at a time.

    The text is cut where one object seems to end and the next to begin. If a cut fell inside an
    object or a string, what is before it is not JSON and all that remains is parsed at once: the
    records never depend on the cuts.

    Raises:
        DataError: it is missing, not JSON, or not a list.
    """
    try:
        with path.open("rb") as file, no_garbage_collection():
            text = (file.read(len(_MARK)).removeprefix(_MARK)) + file.read(piece)
            while text.isspace():
                text = file.read(piece)
            text = text.lstrip()
            if text[:1] != b"[":
                found = text[:40].decode(errors="replace")
                raise DataError(f"{path}: a JSON list of detections is needed, found {found!r}")
            yield from _pieces(file, text[1:], piece, path)
    except OSError as error:
        raise DataError(f"{path}: {_why_unread(error)}") from error


def _why_unread(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "this is a folder; give a file"
    return f"cannot be read: {error.strerror or error}"


def _pieces(file: BinaryIO, text: bytes, piece: int, path: Path) -> Iterator[list[Any]]:
    """Records of a list whose opening bracket is gone; `text` is what was read of it so far."""
    done = 0
    while more := file.read(piece):
        text += more
        cut = _BETWEEN.search(text, len(text) - len(more))
        if cut is None:
            continue
        records = _parse(b"[" + text[: cut.start() + 1] + b"]")
        if isinstance(records, ValueError):
            break  # the cut was not between two entries
        yield records
        done, text = done + len(records), text[cut.end() :]
    records = _parse(b"[" + text + file.read())
    if isinstance(records, ValueError):
        raise DataError(f"{path}: not a JSON list, counted from entry {done}: {records}")
    yield records


def _parse(text: bytes) -> list[Any] | ValueError:
    try:
        return _loads(text)
    except ValueError as error:
        return error


def _loads(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return json.loads(text)
