"""Charts as numbers and words: where lines and bars stand. Templates draw them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_COLORS = ("#c2540a", "#2a6fdb", "#2f8f4e")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 250, 52, 34, 28
_RIGHT = _WIDTH - 12


@dataclass(frozen=True)
class Tick:
    """A horizontal line and its value."""

    y: float
    label: str


@dataclass(frozen=True)
class Mark:
    """A word beneath the horizontal axis."""

    x: float
    anchor: str
    label: str


@dataclass(frozen=True)
class Line:
    """A series, and where the legend names it."""

    name: str
    color: str
    points: str
    place: int


@dataclass(frozen=True)
class LineChart:
    """Lines over a common axis, in the coordinates of an ``svg`` element."""

    said: str  # for screen readers
    ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    lines: tuple[Line, ...]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _RIGHT


@dataclass(frozen=True)
class Bar:
    """A row of a bar chart: its cells are the value and what else is said of it."""

    name: str
    percent: float  # of the full length
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Bars:
    """Bars in a table, which a screen reader can read."""

    caption: str
    headers: tuple[str, ...]  # of name, value, and the further columns
    rows: tuple[Bar, ...]


def line_chart(
    title: str, series: Mapping[str, Sequence[tuple[float, float]]], *, x_label: str
) -> LineChart:
    """Lines through points (x, y), at most three of them.

    Args:
        series: points by name.
    """
    points = [point for line in series.values() for point in line]
    low_x, high_x = min(p[0] for p in points), max(p[0] for p in points)
    ticks = _ticks(min(0.0, *(p[1] for p in points)), max(p[1] for p in points))
    low_y, high_y = ticks[0], ticks[-1]

    def x(value: float) -> float:
        return round(_LEFT + (value - low_x) / max(high_x - low_x, 1e-9) * (_RIGHT - _LEFT), 1)

    def y(value: float) -> float:
        share = (value - low_y) / max(high_y - low_y, 1e-9)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP), 1)

    said = [f"{name} from {line[0][1]:g} to {line[-1][1]:g}" for name, line in series.items()]
    return LineChart(
        said=f"{title}: {'; '.join(said)}",
        ticks=tuple(Tick(y(value), f"{value:g}") for value in ticks),
        marks=(
            Mark(x(low_x), "start", f"{low_x:,g}"),
            Mark((_LEFT + _WIDTH) / 2, "middle", x_label),
            Mark(x(high_x), "end", f"{high_x:,g}"),
        ),
        lines=tuple(
            Line(name, color, " ".join(f"{x(a)},{y(b)}" for a, b in line), _LEFT + 110 * index)
            for index, ((name, line), color) in enumerate(
                zip(series.items(), _COLORS, strict=False)
            )
        ),
    )


def bars(
    caption: str,
    headers: Sequence[str],
    rows: Sequence[tuple[str, float, Sequence[str]]],
    *,
    most: float,
    digits: int = 1,
) -> Bars:
    """A bar for each row: name, value (NaN: unknown), and what else is said of it.

    Args:
        headers: of name, value, and the further columns.
        most: the value of a bar of full length.
    """
    drawn = []
    for name, value, further in rows:
        known = not math.isnan(value)
        length = 100 * max(value, 0) / max(most, 1e-9) if known else 0
        said = f"{value:,.{digits}f}" if known else "–"
        drawn.append(Bar(name, round(length, 1), (said, *further)))
    return Bars(caption, tuple(headers), tuple(drawn))


def _ticks(low: float, high: float) -> list[float]:
    """About five round values that span the range."""
    step = 10 ** math.floor(math.log10(max(high - low, 1e-9) / 4))
    for factor in (1, 2, 2.5, 5, 10):
        if (high - low) / (step * factor) <= 5:
            step *= factor
            break
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 10) for i in range(first, last + 1)]
