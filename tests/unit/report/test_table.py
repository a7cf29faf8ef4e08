"""CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io

import pytest

from batcher.report.table import csv_lines, defuse


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "=cmd|' /C calc'!A0"])
def test_a_text_that_could_be_a_formula_is_defused(text: str) -> None:
    assert defuse(text) == f"'{text}"


@pytest.mark.parametrize("cell", ["", "a=1", " =1", "'=1", "a\n=1", -1, 0, 1.5, None, True])
def test_all_else_stays_as_it_is(cell: object) -> None:
    assert defuse(cell) is cell


def test_records() -> None:
    rows = [["-x", 1, None], ['say "a, b"', -2, "two\nlines"], ["a\rb", 0, ""]]
    lines = list(csv_lines(["=name", "n", "text"], iter(rows)))
    assert lines == ["'=name,n,text", "'-x,1,", '"say ""a, b""",-2,"two\nlines"', '"a\rb",0,']
    assert list(csv.reader(io.StringIO("\n".join(lines), newline="")))[2] == ['say "a, b"', "-2", "two\nlines"]


def test_records_come_one_by_one() -> None:
    def endless() -> object:
        while True:
            yield [1]

    lines = csv_lines(["n"], endless())  # type: ignore[arg-type]
    assert [next(lines) for _ in range(3)] == ["n", "1", "1"]
