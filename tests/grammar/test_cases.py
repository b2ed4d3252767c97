"""The table of docs/grammar.md is true: every row is executed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from corral.errors import UsageError
from tests.grammar import cases

if TYPE_CHECKING:
    from pathlib import Path

ROWS = cases.read()


def test_the_page_has_its_rows() -> None:
    assert len(ROWS) >= 60
    assert [row.number for row in ROWS] == list(range(1, len(ROWS) + 1))


@pytest.mark.parametrize("case", ROWS, ids=lambda case: f"{case.number}:{case.typed[:30]}")
def test_a_row_of_the_page(case: cases.Case, tmp_path: Path) -> None:
    cases.lay_out(tmp_path)
    assert cases.execute(case, tmp_path) == (case.tasks, case.result, case.notes)


@pytest.mark.parametrize(
    "case",
    [row for row in ROWS if row.tasks.startswith("error")],
    ids=lambda case: str(case.number),
)
def test_an_error_of_the_page_names_the_way_out_in_a_dozen_lines(
    case: cases.Case, tmp_path: Path
) -> None:
    cases.lay_out(tmp_path)
    error = cases.understand(case, tmp_path)
    assert isinstance(error, UsageError)
    assert error.exit_code == 2
    assert error.hint or "cannot" in error.message or "holds no line" in error.message
    assert len(f"{error.message}\n{error.text}\n{error.hint}".splitlines()) <= 6
