"""CSV and TSV, a row at a time, past rows that are damaged."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator

_MOST_LINES = 100  # of one row: a quote that is not closed by then was never meant to open


class Row(list[str]):
    """The cells of a row."""

    def __init__(self, cells: list[str], line: int) -> None:
        super().__init__(cells)
        self.line = line  # where it begins, from 1


class BadRow:
    """A line that is no row of the table, and why."""

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        self.reason = reason


class _Ahead:
    """Numbered lines, of which some may be looked at before they are taken."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines = lines
        self._waiting: deque[tuple[int, str]] = deque()

    def line(self, ahead: int) -> tuple[int, str] | None:
        """A line that has not been taken, None after the last."""
        while len(self._waiting) <= ahead:
            following = next(self._lines, None)
            if following is None:
                return None
            self._waiting.append(following)
        return self._waiting[ahead]

    def take(self, count: int) -> None:
        for _ in range(count):
            self._waiting.popleft()


def table_rows(
    lines: Iterator[tuple[int, str]], *, delimiter: str, quotes: bool
) -> Iterator[Row | BadRow]:
    """The rows of a table of numbered lines; every row is as wide as the first.

    Empty lines are no rows. A row may go on over several lines within quotes; where that leads
    nowhere its first line is bad and reading goes on at the next one.
    """
    ahead = _Ahead(lines)
    width = 0
    while (first := ahead.line(0)) is not None:
        number, text = first
        cells, taken, reason = text.split(delimiter), 1, ""
        if quotes and '"' in text:
            cells, taken, reason = _quoted(ahead, delimiter)
        elif not text:
            ahead.take(1)
            continue
        width = width or len(cells)
        if not reason and len(cells) != width:
            reason = f"{len(cells)} columns where the first line has {width}"
        if not reason:
            yield Row(cells, number)
        else:
            taken = 1
            yield BadRow(number, reason)
        ahead.take(taken)


def _quoted(ahead: _Ahead, delimiter: str) -> tuple[list[str], int, str]:
    """The cells of the row that begins at the next line, its lines, and what is wrong with it."""

    def lines() -> Iterator[str]:
        for at in range(_MOST_LINES):
            line = ahead.line(at)
            if line is None:
                return
            yield line[1] + "\n"

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    try:
        return next(reader), reader.line_num, ""
    except csv.Error as error:
        why = str(error)
        if why == "unexpected end of data":
            why = "a quote is opened and not closed"
        return [], 1, f"not valid CSV: {why}"
