"""The rule for every verdict: compare the 95 % interval of an effect with the range that the claim states.

A contrast is supported if the interval lies wholly inside the range, contradicted if it lies wholly outside, and
undecided if it lies partly inside or is not known yet. A claim is supported if all of its contrasts are supported, and
contradicted if any contrast is contradicted. "Supported" needs no correction for the number of contrasts, since all of
them must hold. There is no correction across claims either: on average, one in twenty 95 % intervals misses the effect.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True)
class Claimed:
    """The range of effects that agree with a claim, from `low` to `high`, including the ends if `closed`.

    Raises:
        ValueError: The range is empty or unbounded on both sides.
    """

    low: float = -math.inf
    high: float = math.inf
    closed: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (math.isinf(self.low) and math.isinf(self.high)):
            raise ValueError(f"a claim needs a side: given {self.low} to {self.high}; valid is low < high, one finite")

    def verdict(self, low: float, high: float) -> Verdict:
        """Return the verdict on an interval low..high (low <= high), which is undecided if either end is not finite."""
        if not (math.isfinite(low) and math.isfinite(high)):
            return "undecided"
        if self._above_low(low) and self._below_high(high):
            return "supported"
        return "undecided" if self._above_low(high) and self._below_high(low) else "contradicted"

    def _above_low(self, number: float) -> bool:
        return number > self.low or (self.closed and number == self.low)

    def _below_high(self, number: float) -> bool:
        return number < self.high or (self.closed and number == self.high)

    def distance(self, number: float) -> float:
        """Return the distance from a number, inside or outside the range, to the nearest finite end of the range."""
        return min(abs(number - end) for end in (self.low, self.high) if math.isfinite(end))

    def words(self, unit: str) -> str:
        """Format the range with its unit, such as `above 0 points`, `at least 99 %` or `0.7 to 1.5`."""
        tail = f" {unit}" if unit else ""
        if math.isfinite(self.low) and math.isfinite(self.high):
            return f"{self.low:g} to {self.high:g}{tail}"
        if math.isfinite(self.low):
            return f"{'at least' if self.closed else 'above'} {self.low:g}{tail}"
        return f"{'at most' if self.closed else 'below'} {self.high:g}{tail}"


def above(margin: float) -> Claimed:
    return Claimed(low=margin)


def at_least(margin: float) -> Claimed:
    return Claimed(low=margin, closed=True)


def at_most(margin: float) -> Claimed:
    return Claimed(high=margin, closed=True)


def between(low: float, high: float) -> Claimed:
    return Claimed(low, high, closed=True)


def about(published: float, tolerance: float) -> Claimed:
    """Return the range of numbers within a tolerance of a published number."""
    return between(published - tolerance, published + tolerance)


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """Combine the verdicts on a claim's contrasts (at least one) into the verdict on the claim."""
    verdicts = set(verdicts)
    return "contradicted" if "contradicted" in verdicts else "undecided" if "undecided" in verdicts else "supported"
