"""The sweeps there are, by name."""

from __future__ import annotations

from collections.abc import Callable

from tai_dpt.sweeps.beyond import beyond
from tai_dpt.sweeps.paper_plans import few_shot_runs, figure7, table1, table2
from tai_dpt.sweeps.runs import Recipe, Run
from tai_dpt.sweeps.zero_shot import table3, zero_shot

PLANS: dict[str, Callable[[Recipe], list[Run]]] = {
    "table1": table1,
    "table2": table2,
    "figure6": few_shot_runs,
    "figure7": figure7,
    "table3": table3,
    "beyond": beyond,
    "zero_shot": zero_shot,
}
