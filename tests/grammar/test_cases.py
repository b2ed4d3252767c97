"""The table of docs/grammar.md is true: every row is executed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
    assert cases.execute(case, tmp_path) == (case.tasks, case.result)
