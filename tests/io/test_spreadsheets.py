"""Cells that a spreadsheet would compute."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tai_dpt.io.spreadsheets import as_given, csv_lines

FORMULA = ("=", "+", "-", "@", "\t", "\r")


@pytest.mark.parametrize(
    "cell", ["=HYPERLINK(1)", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1"]
)
def test_a_formula_becomes_text(cell: str) -> None:
    ((written,),) = csv.reader(io.StringIO(csv_lines([[cell]]), newline=""))
    assert written == f"'{cell}"
    assert as_given(written) == cell


@pytest.mark.parametrize("cell", ["dog", "'tis", "a=b", "", "-12", "+3.5", -1.5, 7, None])
def test_the_rest_stays(cell: object) -> None:
    assert csv_lines([[cell, "x"]]) == f"{'' if cell is None else cell},x\n"


@given(st.lists(st.text(st.sampled_from("'=-+@\t1.a,\"")), min_size=1))
def test_what_is_read_back_is_what_was_given(cells: list[str]) -> None:
    (written,) = csv.reader(io.StringIO(csv_lines([cells]), newline=""))
    assert [as_given(cell) for cell in written] == cells
    for cell in written:
        assert not cell.startswith(FORMULA) or cell[1:].replace(".", "").isdigit()
