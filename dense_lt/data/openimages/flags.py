"""What Open Images says of a box beside its corners, packed into two bytes.

A flag is 1 (yes), 0 (no) or -1 (unknown). Bit k of a packed flag is set where flag k is 1, bit
UNKNOWN + k where it is -1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

FLAGS = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
"""In the order of the published files; the challenge's have IsGroupOf alone."""

UNKNOWN = 8
"""Number of the first bit for "unknown"."""


def pack_flags(columns: Mapping[str, NDArray[np.integer]], length: int) -> NDArray[np.uint16]:
    """(length,) packed flags; a name of FLAGS that `columns` lacks is unknown."""
    packed = np.zeros(length, np.uint16)
    for bit, name in enumerate(FLAGS):
        values = columns.get(name)
        if values is None:
            packed |= np.uint16(1 << UNKNOWN + bit)
            continue
        packed |= (values == 1).astype(np.uint16) << np.uint16(bit)
        packed |= (values == -1).astype(np.uint16) << np.uint16(UNKNOWN + bit)
    return packed


def unpack_flag(packed: NDArray[np.uint16], name: str) -> NDArray[np.int8]:
    """(n,) 1, 0 or -1 for one of FLAGS."""
    bit = FLAGS.index(name)
    yes = (packed >> np.uint16(bit) & np.uint16(1)).astype(np.int8)
    unknown = (packed >> np.uint16(UNKNOWN + bit) & np.uint16(1)).astype(np.int8)
    return yes - unknown


def is_group_of(packed: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """(n,) boxes around several objects of a class that touch; unknown counts as no."""
    return unpack_flag(packed, "IsGroupOf") == 1
