"""Ours against the figures that it is held to: the paper's, or this project's own record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from tabulate import tabulate

from tai_dpt.io.shipped import config_path
from tai_dpt.reports.published import benchmark_name, paper
from tai_dpt.reports.render import cell_text, markdown
from tai_dpt.reports.rows import Table
from tai_dpt.reports.statistics import Cell
from tai_dpt.reports.tables import NOVEL, PUBLISHED_AS

TOLERANCE = 1.0  # mAP points

# (row, column) of a table -> mAP in percent
Targets = Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class Verdict:
    """A cell of a table, and what it is held to."""

    method: str
    column: str
    ours: Cell | None  # None: no finished run
    target: float

    @property
    def difference(self) -> float | None:
        """Of the figures as they are printed, to a tenth."""
        return None if self.ours is None else round(round(self.ours.mean, 1) - self.target, 1)

    @property
    def within(self) -> bool:
        return self.difference is not None and abs(self.difference) <= TOLERANCE

    @property
    def text(self) -> str:
        if self.difference is None:
            return "not run"
        if self.within:
            return f"within {TOLERANCE}"
        return "NOT within: " + ("higher" if self.difference > 0 else "lower")

    def facts(self) -> dict[str, Any]:
        """As plain values."""
        ours = self.ours and {"mean": self.ours.mean, "seeds": list(self.ours.values)}
        said = {"ours": ours, "target": self.target, "difference": self.difference}
        return {"method": self.method, "column": self.column, **said, "within": self.within}


def targets_of(name: str, dataset: str) -> Targets:
    """What table ``name`` ("table1" …) is held to on a data set; empty where nothing is printed."""
    text = config_path("recorded_tables.yaml").read_text(encoding="utf-8")
    recorded = yaml.safe_load(text).get(dataset)
    if recorded is not None:
        table = recorded.get(name)
        return _cells(table["rows"], table["columns"]) if table else {}
    benchmark, published = benchmark_name(dataset), paper().get(name)
    if benchmark is None or published is None:
        return {}
    if name == "table1":
        found = _cells(published["rows"], published["columns"])
        return {(row, dataset): v for (row, column), v in found.items() if column == benchmark}
    if name == "table2":
        rows = published.get(benchmark, {})
        # the last of them is the paper's own run of the method
        ours = {ours: rows[theirs[-1]] for ours, theirs in PUBLISHED_AS.items() if rows}
        return _cells(ours, published["columns"])
    own = {"TaI-DPT": published["rows"]["TaI-DPT"]}
    return _cells(own, published["columns"]) if benchmark == NOVEL else {}


def _cells(rows: Mapping[str, Sequence[float | None]], columns: Sequence[str]) -> Targets:
    return {
        (row, column): value
        for row, values in rows.items()
        for column, value in zip(columns, values, strict=True)
        if value is not None
    }


def verdicts(tables: Sequence[Table], targets: Targets) -> list[Verdict]:
    """A verdict for every target."""
    ours = {
        (row.label, column): cell
        for table in tables
        for row in table.rows
        if not row.published
        for column, cell in zip(table.columns, row.cells, strict=True)
    }
    return [Verdict(*place, ours.get(place), target) for place, target in targets.items()]


def render_verdicts(found: Sequence[Verdict], *, held_to: str) -> str:
    """One table, in Markdown, so that it can be pasted where it is reported."""
    rows = [
        (
            *map(markdown, (v.method, v.column)),
            cell_text(v.ours),
            f"{v.target:.1f}",
            "" if v.difference is None else f"{v.difference:+.1f}",
            v.text,
        )
        for v in found
    ]
    headers = ("method", "on", "ours", held_to, "difference", "verdict")
    align = ("left", "left", "right", "right", "right", "left")
    grid = tabulate(rows, headers, "github", disable_numparse=True, colalign=align)
    return f"{grid}\n\n{sum(v.within for v in found)} of {len(found)} within {TOLERANCE} mAP"
