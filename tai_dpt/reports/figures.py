"""Figures 6 and 7: mAP over labelled images per class, or over captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tai_dpt.reports.drawing import picture_kind, plain_text, save_figure
from tai_dpt.reports.rows import Table

_COLOURS = ("#0b5fa5", "#d1495b", "#2e8b57", "#8a5fbf", "#c77f00", "#555555")
_MARKERS = "os^Dvp"


@plain_text()
def draw(tables: Sequence[Table], path: Path, *, ci95: bool) -> None:
    """One panel for each data set, a line with error bars for each method; written to ``path``.

    Methods that do not depend on the horizontal axis are dashed lines without markers.
    Raises InputError for a file type other than PNG, PDF and SVG.
    """
    picture_kind(path)
    figure = Figure(figsize=(5.6 * len(tables), 4.8), layout="constrained")
    labels = dict.fromkeys(row.label for table in tables for row in table.rows)
    styles = {
        label: (_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)])
        for i, label in enumerate(labels)  # a method looks the same in all panels
    }
    for axis, table in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables, strict=True):
        _panel(axis, table, styles, ci95=ci95)
    save_figure(figure, path, dpi=150)


def _panel(axis: Axes, table: Table, styles: dict[str, tuple[str, str]], *, ci95: bool) -> None:
    for row in table.rows:
        color, marker = styles[row.label]
        points = [(x, cell) for x, cell in enumerate(row.cells) if cell is not None]
        places, means = [x for x, _ in points], [cell.mean for _, cell in points]
        spreads = [cell.spread(ci95=ci95) or 0.0 for _, cell in points]
        if row.level:
            low, high = means[0] - spreads[0], means[0] + spreads[0]
            axis.axhline(means[0], linestyle="--", linewidth=1.2, color=color, label=row.label)
            axis.axhspan(low, high, color=color, alpha=0.12, linewidth=0)
        else:
            axis.errorbar(
                *(places, means, spreads),
                color=color,
                marker=marker,
                markersize=5,
                capsize=3,
                label=row.label,
            )
    axis.set_xticks(range(len(table.columns)), table.columns)
    axis.set_xlim(-0.3, len(table.columns) - 0.7)
    axis.set_xlabel(table.axis)
    spread = f" ± {'95 % interval' if ci95 else 'standard deviation'} over seeds"
    several = any(cell and cell.n > 1 for row in table.rows for cell in row.cells)
    axis.set_ylabel("mAP (%)" + (spread if several else ""))
    axis.set_title(table.dataset)
    axis.grid(axis="y", alpha=0.3)
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)
