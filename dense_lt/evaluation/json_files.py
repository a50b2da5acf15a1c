"""Large JSON files, read with little memory and without the cyclic garbage collector."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from dense_lt.utils.errors import DataError

PIECE = 1 << 18
"""Characters of a long list that are parsed at once; what comes of so few stays in cache."""

_BETWEEN = re.compile(r"\}\s*,\s*(?=\{)")
"""The end of one object of a list, and the comma."""


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Look for no cycles meanwhile: JSON has none, and looking takes 40% of the time of parsing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read_json(path: Path, *, drop: str | None = None) -> Any:
    """Parse a whole file.

    Args:
        path: of the file.
        drop: key that is left out of every object as soon as it is parsed: `segmentation` is most
            of an annotation file, and boxes do not need it.

    Raises:
        DataError: it is missing or not JSON.
    """

    def without(parsed: dict[str, Any]) -> dict[str, Any]:
        parsed.pop(drop or "", None)
        return parsed

    try:
        with no_garbage_collection():
            text = path.read_text(encoding="utf-8")
            return json.loads(text, object_hook=without if drop else None)
    except OSError as error:
        raise DataError(f"{path}: {_why_unread(error)}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error


def read_records(path: Path, piece: int = PIECE) -> Iterator[list[Any]]:
    """Parse a file that holds one list, about `piece` characters at a time.

    The text is cut where one object seems to end and the next to begin. If a cut fell inside an
    object or a string, what is before it is not JSON and all that remains is parsed at once: the
    records never depend on the cuts.

    Raises:
        DataError: it is missing, not JSON, or not a list.
    """
    try:
        with path.open(encoding="utf-8") as file, no_garbage_collection():
            text = file.read(piece)
            while text.isspace():
                text = file.read(piece)
            text = text.lstrip()
            if text[:1] != "[":
                raise DataError(f"{path}: a JSON list of detections is needed, found {text[:40]!r}")
            yield from _pieces(file, text[1:], piece, path)
    except OSError as error:
        raise DataError(f"{path}: {_why_unread(error)}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _why_unread(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "this is a folder; give a file"
    return f"cannot be read: {error.strerror or error}"


def _pieces(file: TextIO, text: str, piece: int, path: Path) -> Iterator[list[Any]]:
    """Records of a list whose opening bracket is gone; `text` is what was read of it so far."""
    done = 0
    while more := file.read(piece):
        text += more
        cut = _BETWEEN.search(text, len(text) - len(more))
        if cut is None:
            continue
        records = _parse("[" + text[: cut.start() + 1] + "]")
        if isinstance(records, ValueError):
            break  # the cut was not between two entries
        yield records
        done, text = done + len(records), text[cut.end() :]
    records = _parse("[" + text + file.read())
    if isinstance(records, ValueError):
        raise DataError(f"{path}: not a JSON list, counted from entry {done}: {records}")
    yield records


def _parse(text: str) -> list[Any] | ValueError:
    try:
        return json.loads(text)
    except ValueError as error:
        return error
