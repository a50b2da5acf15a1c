"""Segmentations of many records at once: texts without spaces, and those that need a second look.

A million of them are looked at as arrays of bytes: where brackets and commas are tells whether a
text is a list of polygons, and how many numbers each has. No torch import.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from dense_lt.data.run_lengths import sums_of_runs
from dense_lt.data.segmentations import MIN_POLYGON
from dense_lt.data.validate import LONGEST

_END = b"\0"
"""Comes after every text; JSON holds none."""

_SPACES = b" \t\r\n"
_NUMERIC = b"0123456789.,-[]"
_NOTHING = frozenset((b"null", b"{}", b'""', b"false"))
_OPEN, _CLOSE, _COMMA = b"[],"


class _Runs(msgspec.Struct, gc=False):
    size: tuple[int, int]
    counts: str | list[Annotated[int, msgspec.Meta(ge=0, le=LONGEST)]]


_RUNS = msgspec.json.Decoder(_Runs)


class OutlineTexts(NamedTuple):
    """Texts of M segmentations, end to end with one byte between.

    Texts that are not `odd` are empty, polygons of three points or more, or run lengths that fill
    an image of the size that `runs_size` gives; `odd` ones may be anything.
    """

    joined: bytes
    starts: np.ndarray  # (M,) int64
    ends: np.ndarray  # (M,) int64
    odd: np.ndarray  # (M,) bool
    runs_row: np.ndarray  # (R,) int64, rows of run lengths
    runs_size: np.ndarray  # (R, 2) int64, height and width


def outline_texts(raw: Sequence[msgspec.Raw | bytes]) -> OutlineTexts:
    """Join M segmentations as they are in the file: JSON, or nothing."""
    joined = _END.join([*raw, b""]).translate(None, _SPACES)
    runs: dict[int, _Runs] = {}
    others = np.zeros(len(raw), dtype=bool)
    polygons = joined
    if joined.translate(None, _NUMERIC + _END):  # not only polygons
        texts = [b"" if text in _NOTHING else text for text in joined.split(_END)]
        joined = _END.join(texts)
        for row in [row for row, text in enumerate(texts) if text.translate(None, _NUMERIC)]:
            own = _runs_of(texts[row])
            others[row] = own is None
            if own is not None:
                runs[row] = own
            texts[row] = b""
        polygons = _END.join(texts)
    ends = np.flatnonzero(np.frombuffer(joined, np.uint8) == 0)
    rows = np.array(list(runs), dtype=np.int64)
    sizes = np.array([own.size for own in runs.values()], dtype=np.int64).reshape(-1, 2)
    filled = _sums([own.counts for own in runs.values()]) == sizes.prod(axis=1)
    others[rows[~filled]] = True
    return OutlineTexts(
        joined,
        _starts(ends),
        ends,
        others | ~_are_polygons(polygons),
        rows[filled],
        sizes[filled],
    )


def _runs_of(text: bytes) -> _Runs | None:
    """Run lengths of the right form, None for all else."""
    try:
        runs = _RUNS.decode(text)
    except msgspec.DecodeError:
        return None
    is_text = not isinstance(runs.counts, str) or runs.counts.isascii()
    is_size = all(0 < side <= LONGEST for side in runs.size)
    return runs if runs.counts and is_text and is_size else None


def _sums(counts: Sequence[str | list[int]]) -> np.ndarray:
    """(R,) int64: pixels that run lengths fill, all compressed ones at once."""
    sums = np.array([sum(own) if isinstance(own, list) else 0 for own in counts], dtype=np.int64)
    compressed = [place for place, own in enumerate(counts) if isinstance(own, str)]
    if not compressed:
        return sums
    texts = [str(counts[place]).encode() for place in compressed]
    stops = np.cumsum([len(text) for text in texts], dtype=np.int64)
    starts = np.concatenate([np.zeros(1, dtype=np.int64), stops])[: len(texts)]
    sums[compressed] = sums_of_runs(b"".join(texts), starts, stops)
    return sums


def _starts(ends: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, dtype=np.int64), ends + 1])[: len(ends)]


def _are_polygons(joined: bytes) -> np.ndarray:
    """(M,) bool: texts, which are JSON of nothing but numbers, that are lists of polygons."""
    text = np.frombuffer(joined, np.uint8)
    ends = np.flatnonzero(text == 0)
    starts = _starts(ends)
    opening, closing = np.flatnonzero(text == _OPEN), np.flatnonzero(text == _CLOSE)
    inner = opening[text[opening + 1] != _OPEN]  # lists of numbers alone
    close = closing[np.searchsorted(closing, inner)]
    commas = np.flatnonzero(text == _COMMA)
    count = np.searchsorted(commas, close) - np.searchsorted(commas, inner) + 1
    follows = text[np.minimum(close + 2, len(text) - 1)]
    in_row = (text[close + 1] == _CLOSE) | ((text[close + 1] == _COMMA) & (follows == _OPEN))
    good = (count >= MIN_POLYGON) & (count % 2 == 0) & in_row

    length, rows = ends - starts, len(ends)
    owner = np.searchsorted(ends, inner)
    lists = np.bincount(np.searchsorted(ends, opening), minlength=rows)
    sound = (text[starts] == _OPEN) & (text[np.minimum(starts + 1, len(text) - 1)] == _OPEN)
    sound &= lists == np.bincount(owner, minlength=rows) + 1
    sound[owner[~good]] = False
    return sound | (length == 0) | ((length == 2) & (text[starts] == _OPEN))
