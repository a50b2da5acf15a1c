"""Whether run lengths fill their image: pycocotools shows memory where they do not.

COCO's compressed form is text: a number is one or more letters of 5 bits each, the lowest first,
every letter plus 48; 32 is added to all but its last letter, and 16 in the last means below 0. From
the fourth number on, each is the difference to the run two before it. No torch import.
"""

from __future__ import annotations

import numpy as np

_FIRST, _MORE, _SIGN, _BITS, _VALUE = 48, 32, 16, 5, 31

LONGEST_NUMBER = 7
"""Letters: 35 bits, of which an image of 2^31 pixels needs 33."""

_BLOCK = 1 << 16
"""Letters that are looked at together: what comes of so few stays in cache."""

BROKEN = -1
"""Stands for the sum of what are no run lengths."""


def sums_of_runs(text: bytes, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Pixels that n compressed masks fill, `BROKEN` for those that cannot be decoded.

    Args:
        text: masks end to end, with nothing between them.
        starts: (n,) int64, rising: mask i is `text[starts[i]:stops[i]]`.
        stops: (n,) int64, `starts` of the next.

    Returns:
        (n,) int64.
    """
    sums = [np.zeros(0, dtype=np.int64)]
    first = 0
    while first < len(stops):
        end = int(np.searchsorted(stops, starts[first] + _BLOCK)) + 1  # at least one mask
        own, offset = slice(first, end), starts[first]
        piece = text[offset : stops[own][-1]]
        sums.append(_sums_in_block(piece, starts[own] - offset, stops[own] - offset))
        first = end
    return np.concatenate(sums)


def _sums_in_block(text: bytes, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    letters = np.frombuffer(text, np.uint8) - np.uint8(_FIRST)  # those below 48 wrap round
    last = letters < _MORE
    ends = np.flatnonzero(last)
    broken = stops == starts
    broken[~broken] = ~last[stops[~broken] - 1]
    broken[_owner(np.flatnonzero(letters >= 2 * _MORE), stops)] = True
    bounds = np.searchsorted(ends, np.append(starts, len(text)))  # of the numbers of each mask
    count = np.diff(bounds)
    begins = np.concatenate([np.zeros(1, dtype=np.int64), ends + 1])[: len(ends)]
    begins[bounds[:-1][count > 0]] = starts[count > 0]
    lengths = ends - begins + 1
    too_long = np.flatnonzero(lengths > LONGEST_NUMBER)
    broken[_owner(begins[too_long], stops)] = True
    lengths[too_long] = 1  # to read on
    runs = _add_up(_decode(letters, begins, lengths), bounds[:-1], count)
    broken[_owner(begins[runs < 0], stops)] = True
    total = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(runs)])
    return np.where(broken, BROKEN, total[bounds[1:]] - total[bounds[:-1]])


def _owner(letters: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Which masks some letters, given by their places, belong to."""
    return np.searchsorted(stops, letters, side="right")


def _decode(letters: np.ndarray, begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The numbers that begin at some letters."""
    numbers = (letters[begins] & _VALUE).astype(np.int64)
    for place in range(1, int(lengths.max(initial=0))):
        longer = np.flatnonzero(lengths > place)
        digit = (letters[begins[longer] + place] & _VALUE).astype(np.int64)
        numbers[longer] |= digit << (_BITS * place)
    negative = letters[begins + lengths - 1] & _SIGN != 0
    return numbers - (negative.astype(np.int64) << (_BITS * lengths))


def _add_up(numbers: np.ndarray, first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Runs from differences; mask i has `count[i]` numbers from `first[i]` on.

    Sums go over every second number of all masks, less what was there before the mask's own.
    """
    padded = np.zeros(len(numbers) + 4 - len(numbers) % 2, dtype=np.int64)
    padded[2 : 2 + len(numbers)] = numbers
    sums = np.cumsum(padded.reshape(-1, 2), axis=0).reshape(-1)  # that of number i is sums[i + 2]
    place = np.arange(len(numbers))
    start = np.repeat(first, count)
    runs = sums[2 : 2 + len(numbers)] - sums[start + 2 - (place - start) % 2]
    own = first[count > 0]
    runs[own] = numbers[own]
    return runs


def problem_of_runs(counts: object, height: int, width: int) -> str | None:
    """What is wrong with run lengths, text or numbers, of an image of this size; None: nothing."""
    total = BROKEN
    if isinstance(counts, str | bytes):
        text = counts.encode(errors="surrogatepass") if isinstance(counts, str) else counts
        total = int(sums_of_runs(text, np.array([0]), np.array([len(text)]))[0])
    elif isinstance(counts, list) and all(isinstance(own, int) and own >= 0 for own in counts):
        total = sum(counts)
    if total == BROKEN:
        return "cannot be decoded as run lengths"
    if total != height * width:
        return f"the runs add up to {total} pixels, height x width = {height * width} are needed"
    return None
