"""Pairs of detections and objects that share a key, such as image and category, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 18
"""Pairs that are made at once; keeps memory flat whatever the number of detections."""


def pairs_by_key(
    detection_keys: NDArray[np.int64], object_keys: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Indices of detections and objects with equal keys, about CHUNK pairs at a time.

    Ordered by detection, then by object; the pairs of one detection come together.
    """
    by_key = np.argsort(object_keys, kind="stable")
    starts = run_starts(object_keys[by_key])
    keys = object_keys[by_key][starts]
    lengths = np.diff(np.append(starts, len(by_key)))
    if not len(keys):
        return
    key = np.minimum(np.searchsorted(keys, detection_keys), len(keys) - 1)
    detections = np.flatnonzero(keys[key] == detection_keys)
    key = key[detections]
    ends = np.cumsum(lengths[key])
    cuts = np.searchsorted(ends, np.arange(CHUNK, ends[-1], CHUNK)) if len(ends) else []
    for piece in np.split(np.arange(len(detections)), cuts):
        count = lengths[key[piece]]
        nth = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        yield (
            np.repeat(detections[piece], count),
            by_key[np.repeat(starts[key[piece]], count) + nth],
        )


def run_starts(keys: NDArray[np.generic]) -> NDArray[np.int64]:
    """Where runs of equal `keys` begin."""
    if not len(keys):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))


def within_runs(keys: NDArray[np.generic]) -> NDArray[np.int64]:
    """0, 1, 2, ... anew in every run of equal `keys`."""
    starts = run_starts(keys)
    lengths = np.diff(np.append(starts, len(keys)))
    return np.arange(len(keys)) - np.repeat(starts, lengths)
