"""Charts as HTML: lines as SVG, bars as a table that a screen reader can read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tai_dpt.reports.page import text

STYLE = """
.chart { width: 100%; height: auto; max-width: 44rem; }
.chart text { font: 12px system-ui, sans-serif; fill: var(--soft); }
.chart .grid { stroke: var(--line); } .chart polyline { fill: none; stroke-width: 2; }
.bars { width: 100%; } .bars td, .bars th { border: 0; padding: 0.1rem 0.5rem 0.1rem 0; }
.bars .number { width: 1%; white-space: nowrap; }
.bars .bar { width: 55%; min-width: 5rem; vertical-align: middle; padding-right: 0.6rem; }
.bars .bar span { display: block; height: 0.8rem; border-radius: 3px; background: var(--accent);
  min-width: 2px; }
.bars th[scope=row] { font-weight: 400; white-space: nowrap; }
@media (max-width: 30rem) { .bars th[scope=row] { white-space: normal; } }
.columns { display: grid; gap: 0 2.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
"""

_COLORS = ("#c2540a", "#2a6fdb", "#2f8f4e")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 250, 52, 34, 28


def line_chart(
    title: str, series: Mapping[str, Sequence[tuple[float, float]]], *, x_label: str
) -> str:
    """Lines over a common axis, as an ``svg`` element with a title for screen readers.

    Args:
        series: points (x, y) by name.
    """
    points = [point for line in series.values() for point in line]
    low_x, high_x = min(p[0] for p in points), max(p[0] for p in points)
    ticks = _ticks(min(0.0, *(p[1] for p in points)), max(p[1] for p in points))
    low_y, high_y = ticks[0], ticks[-1]

    def x(value: float) -> float:
        return _LEFT + (value - low_x) / max(high_x - low_x, 1e-9) * (_WIDTH - _LEFT - 12)

    def y(value: float) -> float:
        share = (value - low_y) / max(high_y - low_y, 1e-9)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)

    parts = []
    for tick in ticks:
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 12}" y1="{y(tick):.1f}" '
            f'y2="{y(tick):.1f}"/><text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" '
            f'text-anchor="end">{tick:g}</text>'
        )
    for value, anchor in ((low_x, "start"), (high_x, "end")):
        parts.append(
            f'<text x="{x(value):.1f}" y="{_HEIGHT - 14}" text-anchor="{anchor}">{value:,g}</text>'
        )
    parts.append(
        f'<text x="{(_LEFT + _WIDTH) / 2}" y="{_HEIGHT - 14}" text-anchor="middle">'
        f"{text(x_label)}</text>"
    )
    said = []
    for index, ((name, line), color) in enumerate(zip(series.items(), _COLORS, strict=False)):
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line)
        parts.append(f'<polyline points="{path}" stroke="{color}"/>')
        if len(series) > 1:
            place = _LEFT + 110 * index
            parts.append(
                f'<rect x="{place}" y="4" width="10" height="10" fill="{color}"/>'
                f'<text x="{place + 15}" y="13">{text(name)}</text>'
            )
        said.append(f"{name} from {line[0][1]:g} to {line[-1][1]:g}")
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{text(title)}: {text("; ".join(said))}">{"".join(parts)}</svg>'
    )


def bars(
    caption: str,
    headers: Sequence[str],
    rows: Sequence[tuple[str, float, Sequence[str]]],
    *,
    most: float,
    digits: int = 1,
) -> str:
    """Bars in a table, a row each: name, value, and what else is said of it.

    Args:
        headers: of name, value, and the further columns.
        most: the value of a bar of full length.
    """
    head = f'<th scope="col">{text(headers[0])}</th><td aria-hidden="true"></td>' + "".join(
        f'<th scope="col" class="number">{text(h)}</th>' for h in headers[1:]
    )
    body = []
    for name, value, further in rows:
        known = not math.isnan(value)
        width = 100 * max(value, 0) / max(most, 1e-9) if known else 0
        cells = [f"{value:,.{digits}f}" if known else "–", *further]
        body.append(
            f'<tr><th scope="row">{text(name)}</th><td class="bar" aria-hidden="true"><span '
            f'style="width:{width:.1f}%"></span></td>'
            + "".join(f'<td class="number">{text(cell)}</td>' for cell in cells)
            + "</tr>"
        )
    return (
        f'<table class="bars"><caption class="soft" style="text-align:left">{text(caption)}'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    )


def _ticks(low: float, high: float) -> list[float]:
    """About five round values that span the range."""
    step = 10 ** math.floor(math.log10(max(high - low, 1e-9) / 4))
    for factor in (1, 2, 2.5, 5, 10):
        if (high - low) / (step * factor) <= 5:
            step *= factor
            break
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 10) for i in range(first, last + 1)]
