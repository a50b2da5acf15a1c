"""Random numbers that are the same with every version of NumPy and on every processor."""

from __future__ import annotations

import numpy as np

HALF_BITS = 16


class RandomStream:
    """A stream of random numbers, named by its key.

    Only the raw bits come from NumPy, which guarantees their sequence (NEP 19); it may change how
    a `Generator` makes distributions from them. What is done with the bits here is exact in IEEE
    arithmetic: no exponential, logarithm or sine, whose last digit depends on the machine.

    Args:
        key: any non-negative integers; streams of different keys are independent.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def uniform(self, low: float = 0.0, high: float = 1.0, count: int = 1) -> np.ndarray:
        """`count` float64 numbers in [low, high)."""
        return low + (high - low) * self._unit(count)

    def integer(self, bound: int) -> int:
        """One of 0 .. bound - 1."""
        return int(self._unit(1)[0] * bound)

    def normal(self, scale: float, count: int) -> np.ndarray:
        """`count` float64 numbers of mean 0 and standard deviation `scale`, nearly normal.

        Each is a sum of four uniform ones (Irwin-Hall): within +-3.46 `scale`.
        """
        raw = self._bits.random_raw(count)
        mask = np.uint64((1 << HALF_BITS) - 1)
        total = np.zeros(count, dtype=np.int64)
        for shift in range(0, 64, HALF_BITS):
            total += ((raw >> np.uint64(shift)) & mask).astype(np.int64)
        centred = total.astype(np.float64) / (1 << HALF_BITS) - 2.0
        return centred * (scale * 1.7320508075688772)  # four variances of 1/12 make 1/3

    def permutation(self, count: int) -> list[int]:
        """0 .. count - 1 in random order."""
        return np.argsort(self._bits.random_raw(count), kind="stable").tolist()

    def _unit(self, count: int) -> np.ndarray:
        return (self._bits.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
