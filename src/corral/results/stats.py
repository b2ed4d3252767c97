"""Means, deviations and 95 % intervals of a stream of numbers."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

MANY = 2_000  # degrees of freedom; above it the normal expansion has all digits of a float we show
CLOSE = 1e-12  # relative; where the search for a quantile ends


class Interval(NamedTuple):
    """Where the mean lies, in 95 of 100 such samples."""

    low: float
    high: float


class Sample:
    """Numbers that were seen, of which only three are kept.

    Welford, "Note on a method for calculating corrected sums of squares and products",
    Technometrics 4 (1962): no digits are lost, however large the mean is beside the deviation.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._squares = 0.0

    def add(self, value: float) -> None:
        """See a number."""
        self.count += 1
        step = value - self.mean
        self.mean += step / self.count
        self._squares += step * (value - self.mean)

    @property
    def deviation(self) -> float | None:
        """Give the sample's standard deviation (n - 1); None of fewer than two numbers."""
        return math.sqrt(self._squares / (self.count - 1)) if self.count > 1 else None

    @property
    def interval(self) -> Interval | None:
        """Give Student's 95 % interval of the mean; None of fewer than two numbers."""
        if self.deviation is None:
            return None
        half = student_t(self.count - 1) * self.deviation / math.sqrt(self.count)
        return Interval(self.mean - half, self.mean + half)


@lru_cache(maxsize=4096)
def student_t(freedom: int) -> float:
    """Give the t that 95 % of a Student distribution lie within, both sides together."""
    if freedom > MANY:
        return _nearly_normal(freedom)
    low, high = 1.9, 13.0  # of infinitely many degrees 1.96, of one 12.7
    while high - low > CLOSE * low:
        middle = (low + high) / 2
        if _within(middle, freedom) < 0.95:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """Give the part of the distribution between -t and t.

    Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total


def _nearly_normal(freedom: int) -> float:
    """Expand the quantile around the normal one: Abramowitz and Stegun, 26.7.5."""
    x = 1.959963984540054
    return (
        x
        + (x**3 + x) / (4 * freedom)
        + (5 * x**5 + 16 * x**3 + 3 * x) / (96 * freedom**2)
        + (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / (384 * freedom**3)
    )
