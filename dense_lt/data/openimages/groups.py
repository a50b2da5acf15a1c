"""AP1 .. AP5: the classes in fifths, by the number of their training instances.

No torch import: scoring needs this module.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dense_lt.data.categories import COMMON, FREQUENT, RARE

FIFTHS = 5
"""Of the classes, by rising number of training instances (Tan et al. 2021)."""

NAMES = (RARE, COMMON, COMMON, COMMON, FREQUENT)
"""What the fifths are called where LVIS's three groups are shown, as in the training log."""


def rank_groups(train_counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(C,) 0 for the fifth of the classes with the fewest training instances, ..., 4."""
    groups = np.empty(len(train_counts), np.int64)
    by_count = np.argsort(train_counts, kind="stable")
    for group, own in enumerate(np.array_split(by_count, FIFTHS)):
        groups[own] = group
    return groups


def frequency_groups(train_counts: Sequence[int]) -> tuple[str, ...]:
    """(C,) rare for AP1, common for AP2 to AP4, frequent for AP5.

    Fifths here are those of the classes that have instances; classes without are rare, or they
    would be called frequent where most have none. Of fewer than five classes with instances the
    most frequent one is frequent.

    LVIS's bounds (10 and 100 training images) do not divide Open Images: its rarest class has 14
    instances, its most frequent one 1.4 million.
    """
    counts = np.array(train_counts, dtype=np.int64)
    present = np.flatnonzero(counts)
    ranks = np.zeros(len(counts), np.int64)
    if len(present) >= FIFTHS:
        ranks[present] = rank_groups(counts[present])
    else:
        by_count = present[np.argsort(counts[present], kind="stable")]
        ranks[by_count] = np.linspace(FIFTHS - 1, 0, len(present)).round()[::-1]
    return tuple(NAMES[rank] for rank in ranks.tolist())
