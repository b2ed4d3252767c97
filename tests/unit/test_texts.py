"""Are many values kept without a string for each, and are they the same when they are read?"""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.cli.folder import RealFolder
from corral.errors import UsageError
from corral.model.command import Command
from corral.model.texts import BLOCK, Texts, written
from corral.work.command import parse
from corral.work.sources import Ways
from corral.work.sweep import Sweep

if TYPE_CHECKING:
    from pathlib import Path

MANY = 50_000
BYTES = 90  # of a value, at the most: what it took as a string was 150

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.lists(TEXTS | st.sampled_from(['a",', '"', "\\", '","', "[", "\\u0022"])))
def test_values_are_read_as_they_were_written(values: list[str]) -> None:
    texts = Texts(written(values))
    assert list(texts) == values
    assert [texts[place] for place in range(len(texts))] == values


@pytest.mark.parametrize("count", [BLOCK - 1, BLOCK, BLOCK + 1])
def test_blocks_join_without_a_seam(count: int) -> None:
    values = [str(number) for number in range(count)]
    assert list(Texts(written(values))) == values
    assert written(values) == msgspec.Raw(msgspec.json.encode(values))


def test_a_list_with_blanks_is_read_too() -> None:
    assert list(Texts(msgspec.Raw(b'[ "a" ,\n"b, \\"c"\t]'))) == ["a", 'b, "c']
    assert list(Texts(msgspec.Raw(b"[ ]"))) == []


@pytest.mark.parametrize(
    "other", ["5", "null", '"a"', "[1]", '["a", 1]', '[["a"]]', '{"a": "b"}', '["a", null, "b"]']
)
def test_what_is_no_list_of_texts_is_refused(other: str) -> None:
    with pytest.raises(UsageError, match="no list of texts"):
        Texts(msgspec.Raw(other))


@pytest.mark.parametrize(
    ("words", "ways", "columns"),
    [
        pytest.param(("echo {@values.txt}",), Ways(), 1, id="a file"),
        pytest.param(("echo {a} {b}",), Ways(params=("values.csv",)), 2, id="a table"),
        pytest.param(("echo {a} {b}",), Ways(params=("values.jsonl",)), 2, id="JSON Lines"),
        pytest.param((), Ways(commands="values.txt"), 1, id="a list of commands"),
    ],
)
def test_many_values_are_not_held_as_strings(
    tmp_path: Path, words: tuple[str, ...], ways: Ways, columns: int
) -> None:
    numbers = range(1_000_000, 1_000_000 + MANY)
    (tmp_path / "values.txt").write_text("".join(f"{n}\n" for n in numbers))
    (tmp_path / "values.csv").write_text("a,b\n" + "".join(f"{n},{n}\n" for n in numbers))
    (tmp_path / "values.jsonl").write_text("".join(f'{{"a":{n},"b":{n}}}\n' for n in numbers))
    tracemalloc.start()
    try:
        command = parse(words, folder=RealFolder(tmp_path), ways=ways).command
        command = msgspec.json.decode(msgspec.json.encode(command), type=Command)
        sweep = Sweep.of(command)
        last = sweep[len(sweep) - 1]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (last.values, len(sweep)) == ((str(numbers[-1]),) * columns, MANY)
    assert peak < BYTES * MANY * columns
