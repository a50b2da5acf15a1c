"""JSON objects that hold long lists, a piece at a time: the whole tree is never in memory.

A list is cut where one entry seems to end and the next to begin. What is before the cut, put into
brackets, is JSON only if the cut fell between two entries, so that decoding proves the guess; where
it fails, the entries are walked one by one. Cuts never change what is read. No torch import.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from dense_lt.utils.errors import DataError

PIECE = 1 << 19
"""Bytes of a list that are decoded at once: what comes of so few stays in cache."""

LARGEST = 256 << 20
"""An entry that is longer is taken for broken: reading on to the end of the file would not help."""

Decoder = msgspec.json.Decoder[list[Any]]

_BETWEEN = re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*(?=\{)")
"""The end of one object of a list, and the comma."""

_SPACE = re.compile(r"[ \t\r\n]*")
_SPACE_BYTES = re.compile(rb"[ \t\r\n]*")
_NAME = re.compile(rb'("(?:[^"\\]|\\.)*")[ \t\r\n]*:[ \t\r\n]*')
_SKIP: Decoder = msgspec.json.Decoder(list[msgspec.Raw])
_ENDS = frozenset(",]}")
_SCANNER = json.JSONDecoder()
_CUT_OFF = "is not JSON (or is cut off)"


class Piece(NamedTuple):
    """Some entries of a list that is a member of the object, end to end in the file."""

    member: str
    start: int  # bytes of the file
    stop: int
    records: list[Any]
    typed: bool  # decoded in the form asked for; otherwise as plain JSON, since one has another


class JsonFile:
    """A JSON object on disk, mapped; use it as a context.

    Args:
        path: of the file, in UTF-8 (with or without a byte order mark), UTF-16 or UTF-32.

    Attributes:
        kind: Python's name for what the file holds, "dict" if all is well; known after `pieces`.
        members: Python's name for what each member holds, in the order of the file; likewise.

    Raises:
        DataError: the file is missing or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kind = "dict"
        self.members: dict[str, str] = {}
        try:
            with path.open("rb") as file:
                self._text: mmap.mmap | bytes = _map(file.fileno()) or file.read()
        except FileNotFoundError:
            raise DataError(f"{path}: there is no such annotation file; check the path") from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
        encoding = json.detect_encoding(self._text[:4])
        self._first = 3 if encoding == "utf-8-sig" else 0
        if encoding not in ("utf-8", "utf-8-sig"):
            try:
                self._text = self._text[:].decode(encoding).encode()
            except UnicodeDecodeError as error:
                raise DataError(f"{path}: cannot be read: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(self._text, mmap.mmap):
            self._text.close()

    def __len__(self) -> int:
        """Bytes of the file."""
        return len(self._text)

    def pieces(self, decoders: Mapping[str, Decoder]) -> Iterator[Piece]:
        """The entries of all lists that `decoders` names; others are passed over.

        Raises:
            DataError: the file is not JSON, or gives one of these members twice.
        """
        at = self._skip(self._first)
        if self._text[at : at + 1] != b"{":
            self.kind = type(self.plain(at, len(self._text), what="a value")).__name__
            return
        at = self._skip(at + 1)
        is_empty = self._text[at : at + 1] == b"}"
        while not is_empty:
            name, at = self._name(at)
            if name in decoders and name in self.members:
                raise DataError(f"{self.path}: `{name}` is given twice; keep one of them")
            if self._text[at : at + 1] == b"[":
                self.members[name] = "list"
                at = self._skip((yield from self._entries(name, at + 1, decoders.get(name))))
            else:
                value, at = self._value(at)
                self.members[name] = type(value).__name__
            sign = self._text[at : at + 1]
            if sign == b"}":
                break
            if sign != b",":
                raise self._broken(at, "expecting ',' or '}'")
            at = self._skip(at + 1)
        if self._skip(at + 1) != len(self._text):
            raise self._broken(at + 1, "there is more after the end of the object")

    def plain(self, start: int, stop: int, *, what: str = "list") -> Any:
        """Python's own reading of bytes of the file; entries of a list become a list.

        Raises:
            DataError: they are not JSON.
        """
        text = self._text[start:stop]
        try:
            return json.loads(b"[%b]" % text if what == "list" else text)
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path}: cannot be read: {error}") from error
        except json.JSONDecodeError as error:
            # a bracket was put before a list
            raise self._broken(start + error.pos - (what == "list"), error.msg) from None
        except (ValueError, RecursionError) as error:
            raise self._broken(start, str(error)) from error

    def _skip(self, at: int) -> int:
        space = _SPACE_BYTES.match(self._text, at)
        assert space is not None, "no space is a match as well"
        return space.end()

    def _name(self, at: int) -> tuple[str, int]:
        found = _NAME.match(self._text, at)
        if found is None:
            raise self._broken(at, "expecting a name in double quotes and ':'")
        return self.plain(at, found.end(1), what="name"), found.end()

    def _value(self, at: int) -> tuple[Any, int]:
        """A member that is no list, and where the comma or bracket after it is."""
        size = PIECE
        while True:
            values, stop = self._walk(at, size, most=1)
            if values:
                return values[0], self._skip(at + stop)
            size *= 2

    def _entries(
        self, member: str, at: int, decoder: Decoder | None
    ) -> Generator[Piece, None, int]:
        """Pieces of a list of which the bracket is gone; returns where the list ends."""
        at = self._skip(at)
        while self._text[at : at + 1] != b"]":
            piece = self._guess(member, at, decoder) or self._sure(member, at, decoder)
            if decoder is not None:
                yield piece
            self._forget(at, piece.stop)
            at = self._skip(piece.stop)
            if self._text[at : at + 1] == b",":
                at = self._skip(at + 1)
                if self._text[at : at + 1] == b"]":
                    raise self._broken(at, "expecting an entry after ','")
            elif self._text[at : at + 1] != b"]":
                raise self._broken(at, "expecting ',' or ']'")
        return at + 1

    def _guess(self, member: str, at: int, decoder: Decoder | None) -> Piece | None:
        found = _BETWEEN.search(self._text, at + PIECE, at + 2 * PIECE)
        if found is None:
            return None
        stop = found.start() + 1
        try:
            records = (decoder or _SKIP).decode(b"[%b]" % self._text[at:stop])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return Piece(member, at, stop, records, typed=True)

    def _sure(self, member: str, at: int, decoder: Decoder | None) -> Piece:
        size, stop = PIECE, 0
        while not stop:
            _, stop = self._walk(at, size)
            size *= 2
        stop += at
        try:
            records = (decoder or _SKIP).decode(b"[%b]" % self._text[at:stop])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Piece(member, at, stop, self.plain(at, stop), typed=False)
        return Piece(member, at, stop, records, typed=True)

    def _walk(self, at: int, size: int, most: int | None = None) -> tuple[list[Any], int]:
        """Values end to end with commas between, and where the last whole one stops.

        Only values that a comma or a bracket follows are whole: a number may be cut. Latin letters
        stand for bytes: one letter a byte, and strings end where they do in UTF-8.

        Raises:
            DataError: not even one value is whole, and a longer window will not help.
        """
        window = self._text[at : at + size].decode("latin-1")
        values: list[Any] = []
        start = stop = 0
        where, why = at, "expecting ',' or a bracket"
        while most is None or len(values) < most:
            try:
                value, end = _SCANNER.raw_decode(window, start)
            except json.JSONDecodeError as error:
                where, why = at + error.pos, error.msg
                break
            except (ValueError, RecursionError) as error:
                raise self._broken(at + start, str(error)) from error
            follows = _end_of_space(window, end)
            if window[follows : follows + 1] not in _ENDS:
                where = at + follows
                break
            values, stop = [value] if most else [], end
            if window[follows] != ",":
                break
            start = _end_of_space(window, follows + 1)
        if not stop and (size >= LARGEST or at + size >= len(self._text)):
            raise self._broken(where, why)
        return values, stop

    def _forget(self, start: int, stop: int) -> None:
        """Let pages that have been read go: they are the file's, and would count as ours."""
        if isinstance(self._text, mmap.mmap) and hasattr(self._text, "madvise"):
            first = start - start % mmap.PAGESIZE
            self._text.madvise(mmap.MADV_DONTNEED, first, stop - first)

    def _broken(self, at: int, why: str) -> DataError:
        blocks = range(0, at, PIECE)
        line = 1 + sum(self._text[i : min(i + PIECE, at)].count(b"\n") for i in blocks)
        return DataError(f"{self.path}: {_CUT_OFF}: {why}: line {line}, byte {at + 1} of the file")


def _map(descriptor: int) -> mmap.mmap | None:
    try:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except (ValueError, OSError):  # an empty file, or a pipe
        return None


def _end_of_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    assert space is not None, "no space is a match as well"
    return space.end()
