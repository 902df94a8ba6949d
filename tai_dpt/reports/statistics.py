"""Mean and spread over seeds."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

# 97.5 % points of Student's t distribution for 1, 2, … 30 degrees of freedom
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_T_MANY = 1.960


@dataclass(frozen=True)
class Cell:
    """A figure of a table: its value for every seed, or a single published figure."""

    values: tuple[float, ...]
    expected: int = 1  # seeds that there should be

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def n(self) -> int:
        return len(self.values)

    def spread(self, *, ci95: bool = False) -> float | None:
        """Standard deviation (n − 1), or half the 95 % interval of the mean (Student's t).

        None for a single value.
        """
        if self.n < 2:
            return None
        deviation = statistics.stdev(self.values)
        if not ci95:
            return deviation
        t = _T[self.n - 2] if self.n - 1 <= len(_T) else _T_MANY
        return t * deviation / math.sqrt(self.n)
