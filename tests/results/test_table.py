"""The tables: what a spreadsheet, pandas or `--params` reads back is what the tasks were given."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.results import sheet, table
from corral.results.collect import collect
from tests.results.world import World

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = [
    "", " ", " lead", "trail ", "a,b", 'say "hi"', '"', "two\nlines", "cr\rhere", "both\r\n",
    "\ttab", "=1+1", "+1", "-1", "@x", "'", "\\", "ünïcödé", "日本", "🐮", "a;b", "\x1b[31m",
    "\u2028", "null", "{x}", "\udcff",
]  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file, strict=True))


def header(path: Path) -> str:
    return path.read_text().splitlines()[0]


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_a_hostile_value_comes_back(world: World, folder: Path, value: str) -> None:
    world.names = ("a", "b")
    world.task(value, "next")
    world.task("before", value, state="failed", exit=3)
    collect(world, folder)
    assert [(r["a"], r["b"]) for r in rows(folder / "results.csv")] == [
        (value, "next"),
        ("before", value),
    ]
    assert rows(folder / "failed.csv")[0]["b"] == value


@given(values=st.lists(st.text(st.characters(blacklist_categories=["Cs"])), min_size=1))
def test_any_row_comes_back(values: list[str]) -> None:
    out = io.BytesIO()
    sheet.Csv(out, [f"c{n}" for n in range(len(values))]).row(values)
    back = list(csv.reader(io.StringIO(out.getvalue().decode(), newline=""), strict=True))
    assert back[1] == values


def test_lines_end_as_unix_lines_do(world: World, folder: Path) -> None:
    world.names = ("a",)
    world.task("x")
    collect(world, folder)
    for name in ("results.csv", "failed.csv", "attempts.csv"):
        data = (folder / name).read_bytes()
        assert data.endswith(b"\n")
        assert b"\r" not in data


def test_results_csv_has_its_columns(world: World, folder: Path) -> None:
    world.names = ("T", "L")
    world.task("1.5", "16", rep=2, seconds=1.23456, peak_kb=1536, attempt=3)
    collect(world, folder)
    assert (folder / "results.csv").read_text() == (
        "task,T,L,rep,state,exit,seconds,peak_mb,host,attempt\n"
        "1,1.5,16,2,done,0,1.235,1.5,gpu07,3\n"
    )


def test_up_to_exit_the_table_tells_nothing_of_what_went_wrong(tmp_path: Path) -> None:
    calm = World(tmp_path / "blobs", names=("T",))
    calm.task("1")
    calm.task("2", state="waiting", exit=None, attempt=0, host="", outcome=None)
    rough = World(tmp_path / "blobs", names=("T",))
    rough.task("1", host="n3", attempt=4, seconds=99.0, peak_kb=1, ticket="1-1-1-4")
    rough.task("2", state="waiting", exit=137, attempt=2, outcome="failed", kind="exit")
    upto = {"calm": "", "rough": ""}
    for name, world in (("calm", calm), ("rough", rough)):
        collect(world, tmp_path / name)
        for row in rows(tmp_path / name / "results.csv"):
            upto[name] += ",".join(list(row.values())[:5]) + "\n"
    assert upto["calm"] == upto["rough"] == "1,1,1,done,0\n2,2,1,waiting,\n"


def test_what_never_ran_has_no_circumstances(world: World, folder: Path) -> None:
    world.task(
        state="waiting", exit=None, seconds=None, peak_kb=None, host="", attempt=0, outcome=None
    )
    collect(world, folder)
    assert (folder / "results.csv").read_text().splitlines()[1] == "1,1,waiting,,,,,"


def test_a_signal_is_a_negative_exit(world: World, folder: Path) -> None:
    world.task(state="failed", exit=None, signal=9, kind="signal")
    collect(world, folder)
    assert rows(folder / "results.csv")[0]["exit"] == "-9"
    assert rows(folder / "failed.csv")[0]["exit"] == "-9"


def test_a_parameter_gives_way_to_our_columns_in_results_csv(world: World, folder: Path) -> None:
    world.names = ("host", "host_", "T", "task")
    world.task("h", "h_", "t", "k")
    collect(world, folder)
    assert header(folder / "results.csv") == (
        "task,host__,host_,T,task_,rep,state,exit,seconds,peak_mb,host,attempt"
    )


def test_our_columns_give_way_in_failed_csv_so_that_it_feeds_back(
    world: World, folder: Path
) -> None:
    world.names = ("reason", "hosts")
    world.task("r", "h", state="failed", reason="exit 1", exit=1)
    collect(world, folder)
    assert (
        header(folder / "failed.csv") == "task,reason,hosts,rep,reason_,exit,stderr,hosts_,attempts"
    )
    assert rows(folder / "failed.csv")[0]["reason"] == "r"


@given(
    names=st.lists(st.text("ab_", min_size=1, max_size=3), unique=True),
    ours=st.sets(st.text("ab_", min_size=1, max_size=3)),
)
def test_column_names_never_clash(names: list[str], ours: set[str]) -> None:
    found = table.yielding(names, to=ours)
    assert len(set(found) | ours) == len(found) + len(ours)
    assert all(name in ours or column == name for name, column in zip(names, found, strict=True))


def test_failed_csv_says_why_and_who_tried(world: World, folder: Path) -> None:
    world.names = ("T",)
    world.task("1")
    world.task("2", state="failed", reason="exit 3", exit=3, attempt=4, stderr=b"a\nb\nc\nbad T\n")
    world.attempt(1, "n1")
    world.attempt(2, "n2", outcome="failed", number=1)
    world.attempt(2, "n9", outcome="returned", number=2)
    world.attempt(2, "n1", outcome="lost", number=3)
    world.attempt(2, "n2", outcome="failed", number=4)
    collect(world, folder)
    assert rows(folder / "failed.csv") == [
        {
            "task": "2", "T": "2", "rep": "1", "reason": "exit 3", "exit": "3",
            "stderr": "b\nc\nbad T", "hosts": "n2 n1", "attempts": "4",
        }
    ]  # fmt: skip


@pytest.mark.parametrize("size", [600, 3_000_000], ids=["inline", "from its file"])
def test_of_long_stderr_the_end_is_shown(world: World, size: int) -> None:
    text = table.last_lines(world, world.captured(b"y" * size + "é\n\n".encode()))
    assert len(text) == 500
    assert text.endswith("yé")


def test_stderr_that_is_no_text_is_shown_as_far_as_it_is(world: World) -> None:
    assert table.last_lines(world, world.captured(b"\xff\xfe bad\n")) == "\ufffd\ufffd bad"


def test_attempts_csv_says_who_did_what(world: World, folder: Path) -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    world.task()
    world.attempt(
        1, "n1", outcome="failed", kind="signal", exit=None, signal=11,
        started=datetime(2026, 3, 1, 17, 30, 0, 120_000, tzinfo=india),
    )  # fmt: skip
    world.attempt(1, "n2", number=2, reason="failed")
    world.attempt(
        1, "n3", number=3, reason="straggler", state="leased", outcome=None, exit=None,
        slot=None, started=None, ended=None, seconds=None,
    )  # fmt: skip
    collect(world, folder)
    assert (folder / "attempts.csv").read_text() == (
        "task,attempt,host,slot,start,seconds,exit,outcome,kind,reason\n"
        "1,1,n1,0,2026-03-01T12:00:00.120Z,1.880,-11,failed,signal,first\n"
        "1,2,n2,0,2026-03-01T12:00:00.120Z,1.880,0,accepted,,failed\n"
        "1,3,n3,,,,,leased,,straggler\n"
    )


def test_hosts_are_remembered_for_each_task(world: World) -> None:
    tried = table.HostsTried()
    for task, host in [(5, "a"), (2, "b"), (5, "b"), (5, "a"), (2, "a")]:
        tried.add(world.attempt(task, host))
    assert [tried.of(task) for task in (1, 2, 5, 6)] == [(), ("b", "a"), ("a", "b"), ()]
