"""Running averages for the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor


def _number(value: Tensor | float) -> float:
    return value.item() if isinstance(value, Tensor) else value


class AverageMeter:
    """The last value and the average so far; ``ema=True`` averages exponentially (0.9, 0.1)."""

    def __init__(self, ema: bool = False) -> None:
        self.ema = ema
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.val: float = 0
        self.avg: float = 0
        self.sum: float = 0
        self.count: int = 0

    def update(self, val: Tensor | float, n: int = 1) -> None:
        """Take in ``val``, the average of ``n`` items."""
        self.val = _number(val)
        self.sum += self.val * n
        self.count += n
        self.avg = 0.9 * self.avg + 0.1 * self.val if self.ema else self.sum / self.count


class MetricMeter:
    """An ``AverageMeter`` for each name; prints as ``loss 0.1234 (0.2345) acc …``."""

    def __init__(self, delimiter: str = " ") -> None:
        self.meters: defaultdict[str, AverageMeter] = defaultdict(AverageMeter)
        self.delimiter = delimiter

    def update(self, input_dict: Mapping[str, Tensor | float] | None) -> None:
        """Take in one value for each name; None changes nothing."""
        if input_dict is None:
            return
        if not isinstance(input_dict, Mapping):
            raise TypeError(f"give a dictionary of numbers, not a {type(input_dict).__name__}")
        for name, value in input_dict.items():
            self.meters[name].update(value)

    def __str__(self) -> str:
        return self.delimiter.join(
            f"{name} {meter.val:.4f} ({meter.avg:.4f})" for name, meter in self.meters.items()
        )
