"""Tables as text, Markdown, LaTeX or CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tabulate import tabulate

from tai_dpt.io.spreadsheets import csv_lines
from tai_dpt.reports.rows import Table
from tai_dpt.reports.statistics import Cell

FORMATS = ("text", "markdown", "latex", "csv")
_TABULATE = {"text": "simple", "markdown": "github", "latex": "latex_raw"}


def render(tables: Sequence[Table], remarks: Sequence[str], *, style: str, ci95: bool) -> str:
    """All tables, and the remarks beneath (none in CSV: the caller shows them elsewhere)."""
    if style == "csv":
        return "\n".join(_csv(table, ci95) for table in tables).rstrip("\n")
    kind = "95 % interval of the mean" if ci95 else "standard deviation"
    blocks = []
    for table in tables:
        heading = f"{table.kind.capitalize()}: {table.dataset + ', ' if table.dataset else ''}"
        heading += "mAP (%)"
        if any(cell and cell.n > 1 for row in table.rows for cell in row.cells):
            heading += f", mean ± {kind} over seeds"
        heading += f", by {table.axis}" if table.axis else ""
        blocks += [_remark(heading, style), _grid(table, style, ci95)]
        beneath = list(table.remarks)
        short = {c.expected for row in table.rows for c in row.cells if c and c.n < c.expected}
        beneath += [f"n: seeds so far, of {expected}" for expected in short]
        blocks += [_lines(beneath, style)] if beneath else []
    blocks += [_lines(remarks, style)] if remarks else []
    return "\n\n".join(blocks)


def cell_text(cell: Cell | None, *, ci95: bool = False, plus_minus: str = "±") -> str:
    """``65.1 ± 0.3``; ``(n=2)`` behind it where seeds are missing; nothing for no cell."""
    if cell is None:
        return ""
    spread = cell.spread(ci95=ci95)
    text = f"{cell.mean:.1f}" + ("" if spread is None else f" {plus_minus} {spread:.1f}")
    return text + (f" (n={cell.n})" if cell.n < cell.expected else "")


def _grid(table: Table, style: str, ci95: bool) -> str:
    escape = _ESCAPES[style]
    sign = r"$\pm$" if style == "latex" else "±"
    rows = [
        [escape(row.label), *(cell_text(cell, ci95=ci95, plus_minus=sign) for cell in row.cells)]
        for row in table.rows
    ]
    return tabulate(
        rows,
        headers=["method", *map(escape, table.columns)],
        tablefmt=_TABULATE[style],
        disable_numparse=True,
        colalign=("left", *["right"] * len(table.columns)),
    )


def _csv(table: Table, ci95: bool) -> str:
    spread = "ci95" if ci95 else "sd"
    header = ["table", "dataset", "method"]
    for column in table.columns:
        header += [column, f"{column} {spread}", f"{column} n"]
    lines = [header]
    for row in table.rows:
        line = [table.kind, table.dataset, row.label]
        for cell in row.cells:
            if cell is None:
                line += ["", "", ""]
                continue
            deviation = cell.spread(ci95=ci95)
            line.append(f"{cell.mean:.4f}".rstrip("0").rstrip("."))
            line.append("" if deviation is None else f"{deviation:.4f}")
            line.append("" if row.published and cell.n == 1 else str(cell.n))
        lines.append(line)
    return csv_lines(lines)


def _lines(remarks: Sequence[str], style: str) -> str:
    bullet = "" if style == "latex" else "- "
    return "\n".join(_remark(bullet + remark, style) for remark in remarks)


def _remark(text: str, style: str) -> str:
    return f"% {' '.join(text.split())}" if style == "latex" else _ESCAPES[style](text)


def _latex(text: str) -> str:
    for character in "&%$#_{}":
        text = text.replace(character, f"\\{character}")
    return text


def markdown(text: str) -> str:
    """A name may hold HTML, a link or a border of the table: shown, not obeyed."""
    for character, shown in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        text = text.replace(character, shown)
    return " ".join(text.replace("](", "]\\(").split())


_ESCAPES: dict[str, Callable[[str], str]] = {"text": str, "markdown": markdown, "latex": _latex}
