"""The rules that make one stream of many results."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import CorralError, UsageError
from corral.model.task import Captured
from corral.results import blocks, gather, rules, tagged
from tests.results.world import World

if TYPE_CHECKING:
    from pathlib import Path

LINES = st.binary(max_size=40).map(lambda data: data.replace(b"x", b"\n"))


def collected(world: World, rule: str) -> bytes:
    out = io.BytesIO()
    gather.into_stream(world, rules.read(rule), out)
    return out.getvalue()


def lines_with_end(data: bytes) -> list[bytes]:
    """Split after each newline; a last line without one gets it."""
    lines = data.split(b"\n")
    return [line + b"\n" for line in (lines if lines[-1] else lines[:-1])]


@given(outputs=st.lists(st.binary(max_size=50)))
def test_concat_is_the_concatenation(
    outputs: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = World(tmp_path_factory.getbasetemp() / "blobs")
    for output in outputs:
        world.task(stdout=output)
    assert collected(world, "concat") == b"".join(outputs)


@given(pieces=st.lists(LINES), number=st.integers(1, 10**9))
def test_tagging_leads_each_line_however_the_bytes_are_cut(
    pieces: list[bytes], number: int
) -> None:
    out = io.BytesIO()
    tagged.tag_lines(out, number, (piece for piece in pieces if piece))
    expected = [b"%d\t%b" % (number, line) for line in lines_with_end(b"".join(pieces))]
    assert out.getvalue() == b"".join(expected)


def test_only_done_tasks_are_in_it_in_their_order(world: World) -> None:
    world.task(stdout=b"c\n", number=3)
    world.task(stdout=b"no\n", state="failed", number=1)
    world.task(stdout=b"not yet\n", state="active", number=4)
    world.task(stdout=b"b\n", number=2)
    assert collected(world, "concat") == b"c\nb\n"
    assert collected(world, "tagged") == b"3\tc\n2\tb\n"
    assert gather.into_stream(world, rules.read("concat"), io.BytesIO()).results == 2


def test_concat_adds_no_newline_but_tagged_and_blocks_end_each_line(world: World) -> None:
    world.task(stdout=b"1")
    world.task(stdout=b"2")
    assert collected(world, "concat") == b"12"
    assert collected(world, "tagged") == b"1\t1\n2\t2\n"
    assert collected(world, "blocks") == b"# task 1\n1\n# task 2\n2\n"


def test_a_block_names_its_parameters_and_its_replicate(world: World) -> None:
    world.names, world.reps = ("a", "b"), 2
    world.task("3", "20", rep=2, stdout=b"out\n")
    assert collected(world, "blocks") == b"# task 1 a=3 b=20 rep=2\nout\n"


def test_a_block_of_nothing_is_its_header(world: World) -> None:
    world.task()
    assert collected(world, "blocks") == b"# task 1\n"


@given(value=st.text())
def test_a_blocks_header_is_one_line_whatever_the_value_is(value: str) -> None:
    world = World(blobs=None, names=("a",))  # type: ignore[arg-type]  # nothing large
    header = blocks.header(world, world.task(value))
    assert header.endswith("\n")
    assert len(header.encode("utf-8", "surrogateescape").split(b"\n")) == 2


def test_a_blocks_header_quotes_what_would_be_misread(world: World) -> None:
    world.names = ("a", "b", "c")
    header = blocks.header(world, world.task("two words", "", "line\nend"))
    assert header == '# task 1 a="two words" b="" c="line\\nend"\n'


@pytest.mark.parametrize("rule", ["concat", "tagged", "blocks"])
def test_large_output_comes_from_its_file_byte_for_byte(world: World, rule: str) -> None:
    large = b"".join(b"%d\n" % number for number in range(450_000))  # 3 MB
    world.task(stdout=large)
    got = collected(world, rule)
    if rule == "blocks":
        got = got.removeprefix(b"# task 1\n")
    if rule == "tagged":
        assert got.startswith(b"1\t0\n1\t1\n")
        got = got.replace(b"\n1\t", b"\n").removeprefix(b"1\t")
    assert got == large


def test_output_that_lost_bytes_is_no_output(world: World, tmp_path: Path) -> None:
    result = world.task(stdout=b"x" * 100_000)
    (world.blobs / result.stdout.sha256).write_bytes(b"x" * 99_999)
    with pytest.raises(CorralError, match="99999 instead of 100000"):
        collected(world, "concat")


def test_an_unknown_rule_names_the_known_ones(world: World) -> None:
    with pytest.raises(UsageError, match="no collecting rule 'zip'") as caught:
        collected(world, "zip")
    assert caught.value.hint == (
        "one of: concat, tagged, blocks, table, files, split=SIZE, ./PROGRAM"
    )


def test_nothing_captured_yields_nothing(world: World) -> None:
    out = io.BytesIO()
    tagged.tag_lines(out, 1, [])
    assert out.getvalue() == b""
    assert Captured().size == 0
