"""Medians, percentiles, and slopes with an honest interval."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def median(values: Sequence[float]) -> float:
    """The median, rounded to what a benchmark can know."""
    return round(statistics.median(values), 4)


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile; 0 < percent <= 100."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


@dataclass(frozen=True)
class Slope:
    """Growth a hour, and the 95 % interval of it. Nothing is claimed when the interval holds 0."""

    per_hour: float
    low: float
    high: float

    @property
    def is_growth(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0


def slope(times_sec: Sequence[float], values: Sequence[float], *, blocks: int = 10, draws: int = 2000) -> Slope:
    """The least-squares slope; the interval from a bootstrap of contiguous blocks of residuals.

    Samples of memory follow each other closely: an interval that took them as independent would be far too narrow.
    Whole blocks are redrawn instead, so the interval is as wide as a short run deserves.
    """
    fitted = statistics.linear_regression(times_sec, values)
    residuals = [value - fitted.slope * time - fitted.intercept for time, value in zip(times_sec, values, strict=True)]
    size = max(1, len(residuals) // blocks)
    starts = range(len(residuals) - size + 1)
    luck = random.Random(1)
    found = []
    for _ in range(draws):
        drawn: list[float] = []
        while len(drawn) < len(residuals):
            start = luck.choice(starts)
            drawn += residuals[start : start + size]
        noise = statistics.linear_regression(times_sec, drawn[: len(residuals)]).slope
        found.append((fitted.slope + noise) * 3600)
    found.sort()
    return Slope(round(fitted.slope * 3600, 1), round(found[len(found) // 40], 1), round(found[-len(found) // 40], 1))
