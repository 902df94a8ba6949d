"""CSV whose cells a spreadsheet shows and never computes.

A file or class may be called ``=HYPERLINK(…)``. Text that a spreadsheet would take for a formula
gets an apostrophe in front, which tells it that this is text; ``as_given`` takes it off again.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """The lines of CSV with those cells, each with its end."""
    lines = []
    for row in rows:
        stream = io.StringIO()
        csv.writer(stream).writerow([_as_text(cell) for cell in row])
        # by its own line end the writer knows what to quote: so \r too, which names may hold
        lines.append(stream.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)


def as_given(cell: str) -> str:
    """A cell as it was before ``csv_lines`` wrote it.

    >>> as_given("'=1+1"), as_given("'tis")
    ('=1+1', "'tis")
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _as_text(cell: Any) -> Any:
    if not isinstance(cell, str) or not _FORMULA.match(cell) or _is_number(cell):
        return cell
    return f"'{cell}"


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d+)?", cell) is not None
