"""Running averages for the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping


class AverageMeter:
    """The last value, and the average so far."""

    def __init__(self) -> None:
        self.value = self.total = 0.0
        self.count = 0

    @property
    def average(self) -> float:
        return self.total / max(self.count, 1)

    def update(self, value: float) -> None:
        """Take in a value."""
        self.value = value
        self.total += value
        self.count += 1


class MetricMeter:
    """An ``AverageMeter`` for each name; prints as ``loss 0.1234 (0.2345) acc …``."""

    def __init__(self) -> None:
        self.meters: defaultdict[str, AverageMeter] = defaultdict(AverageMeter)

    def update(self, values: Mapping[str, float]) -> None:
        """Take in one value for each name."""
        for name, value in values.items():
            self.meters[name].update(value)

    def __str__(self) -> str:
        return " ".join(
            f"{name} {meter.value:.4f} ({meter.average:.4f})" for name, meter in self.meters.items()
        )
