"""The sweeps there are, by name."""

from __future__ import annotations

from collections.abc import Callable

from tai_dpt.sweeps.beyond import beyond
from tai_dpt.sweeps.paper_plans import figure6, figure7, table1, table2
from tai_dpt.sweeps.runs import Recipe, Run

PLANS: dict[str, Callable[[Recipe], list[Run]]] = {
    "table1": table1,
    "table2": table2,
    "figure6": figure6,
    "figure7": figure7,
    "beyond": beyond,
}
