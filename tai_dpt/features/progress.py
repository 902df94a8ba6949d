"""How far a long encoding is, in lines a log file can keep."""

from __future__ import annotations

import time
from collections.abc import Callable

Report = Callable[[str], None]


class Progress:
    """Lines with rate and time left, at most one every few seconds."""

    interval = 10.0  # seconds

    def __init__(self, name: str, *, items: int, rows: int, report: Report) -> None:
        self.name = name
        self.items, self.rows = items, rows
        self.report = report
        self.done_items = self.done_rows = 0
        self.start = self.last = time.monotonic()

    def add(self, items: int, rows: int) -> None:
        self.done_items += items
        self.done_rows += rows
        now = time.monotonic()
        if now - self.last < self.interval:
            return
        self.last = now
        passed = now - self.start
        left = passed / self.done_rows * (self.rows - self.done_rows)  # rows cost, not items
        self.report(
            f"{self.name}: {self.done_items:,} of {self.items:,}"
            f" ({self.done_items / self.items:.0%}), {self.done_items / passed:,.1f} per second,"
            f" {format_seconds(left)} left"
        )

    def finish(self) -> None:
        passed = time.monotonic() - self.start
        rate = self.done_items / max(passed, 1e-9)
        self.report(
            f"{self.name}: {self.done_items:,} encoded in {format_seconds(passed)}"
            f" ({rate:,.1f} per second)"
        )


def format_bytes(count: int) -> str:
    """1234567890 -> "1.23 GB"."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} bytes"


def format_seconds(seconds: float) -> str:
    """75.3 -> "1:15", 3675 -> "1:01:15", 4.25 -> "4.2 s"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
