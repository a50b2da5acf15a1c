"""How sure is a mean over seeds? Student's t-intervals, for means and for differences of means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, variance

# Two-sided 95 % critical values of Student's t for 1 to 30 degrees of freedom.
_CRITICAL = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)
_NORMAL = 1.959964


def t_critical(degrees: float) -> float:
    """Half-width of a two-sided 95 % t-interval in standard errors; fractions are rounded down.

    Above 30 degrees of freedom the first term of the Cornish-Fisher series, right to 0.003.
    """
    whole = math.floor(degrees)
    if whole <= len(_CRITICAL):
        return _CRITICAL[max(whole, 1) - 1]
    return _NORMAL + (_NORMAL**3 + _NORMAL) / (4 * whole)


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval `mean +- half_width`; None where there are too few values."""

    mean: float | None
    half_width: float | None
    count: int  # values that entered
    deviation: float | None = field(default=None, compare=False)
    """Standard deviation of the values, of a difference in pairs: of the differences."""

    @property
    def contains_zero(self) -> bool | None:
        """Whether the interval covers zero; None without an interval."""
        if self.mean is None or self.half_width is None:
            return None
        return abs(self.mean) <= self.half_width


def mean_interval(values: Sequence[float | None]) -> Estimate:
    """Mean of the defined values and its t-interval (from two values on)."""
    defined = [value for value in values if value is not None]
    if not defined:
        return Estimate(None, None, 0)
    if len(defined) == 1:
        return Estimate(defined[0], None, 1)
    deviation = math.sqrt(variance(defined))
    half_width = t_critical(len(defined) - 1) * deviation / math.sqrt(len(defined))
    return Estimate(fmean(defined), half_width, len(defined), deviation)


def paired_difference(
    values: Sequence[float | None], reference: Sequence[float | None]
) -> Estimate:
    """Mean of `values[i] - reference[i]`: i is the same seed and data in both."""
    pairs = zip(values, reference, strict=True)
    return mean_interval([a - b for a, b in pairs if a is not None and b is not None])


def welch_difference(values: Sequence[float | None], reference: Sequence[float | None]) -> Estimate:
    """Difference of two means of unrelated runs, with Welch's interval (Welch 1947).

    The interval is None unless both sides have two values or more.
    """
    first = [value for value in values if value is not None]
    second = [value for value in reference if value is not None]
    if not first or not second:
        return Estimate(None, None, 0)
    mean, count = fmean(first) - fmean(second), min(len(first), len(second))
    if count < 2:
        return Estimate(mean, None, count)
    own, other = variance(first) / len(first), variance(second) / len(second)
    if own + other == 0:
        return Estimate(mean, 0.0, count)
    degrees = (own + other) ** 2 / (own**2 / (len(first) - 1) + other**2 / (len(second) - 1))
    return Estimate(mean, t_critical(degrees) * math.sqrt(own + other), count)
