"""Where keys and values of a TOML text stand, whatever shape it has."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.work import runfile
from corral.work.positions import Path, Positions
from corral.work.runfile import RunFile
from corral.work.sources import Source
from tests.grammar.test_laws import VALUES

TEXT = '''# comment with = and [brackets]
run = "a = \\" [b] {c}"   # "more"
"quoted key" = 1
sweep.T = 'lit # eral'
inline = { a = 1, "b c" = [1, { d = 2 }] }

[sweep.more]
long = """
x = 1
[not]
a table"""""
multi = [
  "one",  # comment ]
  'two',
]
[[source]]
values = [1]
[[source]]
file = """a"""
date = 1979-05-27 07:32:00
'''


def paths(value: Any, before: Path = ()) -> list[Path]:
    """List the paths of all values."""
    if isinstance(value, dict):
        return [path for key, item in value.items() for path in paths(item, (*before, key))]
    if isinstance(value, list):
        inside = [path for n, item in enumerate(value) for path in paths(item, (*before, n))]
        return inside or [before]
    return [before]


def at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def check(text: str) -> None:
    found = tomllib.loads(text)
    positions = Positions(text)
    for path in paths(found):
        spot = positions.values[path]
        assert tomllib.loads(f"x = {text[spot.start : spot.end]}")["x"] == at(found, path), path


def test_every_value_is_found_where_it_stands() -> None:
    check(TEXT)


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        (("run",), 2, 1),
        (("quoted key",), 3, 2),
        (("sweep", "T"), 4, 7),
        (("inline", "b c"), 5, 20),
        (("sweep", "more", "long"), 8, 1),
        (("source", 1, "file"), 19, 1),
    ],
)
def test_keys_are_found(path: Path, line: int, column: int) -> None:
    positions = Positions(TEXT)
    assert positions.line_and_column(positions.keys[path].start) == (line, column)


@given(
    st.dictionaries(
        st.text("abcXYZ", min_size=1, max_size=4),
        st.lists(VALUES, min_size=1, max_size=3).map(tuple),
        max_size=3,
    ),
    st.lists(VALUES.filter(bool), max_size=3).map(tuple),
    st.lists(VALUES.filter(bool), max_size=2),
)
def test_any_file_that_corral_writes_is_walked(
    sweep: dict[str, str | tuple[str, ...]], push: tuple[str, ...], files: list[str]
) -> None:
    source = tuple(Source(file=name) for name in files)
    check(runfile.dump(RunFile(run=("x", "{y}"), sweep=sweep, push=push, source=source)))
