"""Rules that take stdout and declared files alike, and those that make many files."""

from __future__ import annotations

import io
import json
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import CorralError, UsageError
from corral.results import gather, rules
from corral.results.collect import collect
from corral.results.gather import Wish
from tests.results.world import World
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

ECHO = """#!/usr/bin/env python3
import json, sys
for line in sys.stdin:
    told = json.loads(line)
    print(told["task"], told["parameters"], told["rep"], open(told["stdout"]).read(), end="|")
    for name, path in told["files"].items():
        print(name, open(path).read(), end="|")
"""


def stream(world: World, rule: str, *, of: str | None = None) -> bytes:
    """Collect into a stream in memory."""
    out = io.BytesIO()
    gather.into_stream(world, rules.read(rule), out, Wish(of=of))
    return out.getvalue()


def fill(world: World, rule: str, folder: Path, *, of: str | None = None) -> dict[str, bytes]:
    """Collect into a folder; gives what is in it."""
    gather.into_folder(world, rules.read(rule), folder, Wish(of=of))
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".written.jsonl"
    }


def lives(pid: int) -> bool:
    """Say whether a process runs; one that nobody has reaped yet does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def sweep(world: World) -> World:
    """Two tasks with stdout, stderr, a file of a kept name and one of a common name."""
    world.names = ("T",)
    world.declares("out-{T}.csv", "log.txt")
    for value in ("1", "2"):
        files = {f"out-{value}.csv": b"csv " + value.encode(), "log.txt": b"log " + value.encode()}
        world.task(value, stdout=b"out\n", stderr=b"err\n", files=files)
    return world


def program(folder: Path, text: str, name: str = "collect.py") -> None:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ("stdout", b"out\nout\n"),
        ("stderr", b"err\nerr\n"),
        ("log.txt", b"log 1log 2"),
        ("./log.txt", b"log 1log 2"),
        ("out-{T}.csv", b"csv 1csv 2"),
        ("out-*.csv", b"csv 1csv 2"),
        ("out-2.csv", b"csv 2"),
    ],
)
def test_any_of_what_tasks_left_can_be_collected(sweep: World, of: str, expected: bytes) -> None:
    assert stream(sweep, "concat", of=of) == expected


def test_a_declared_file_goes_through_each_rule(sweep: World, tmp_path: Path) -> None:
    assert stream(sweep, "tagged", of="log.txt") == b"1\tlog 1\n2\tlog 2\n"
    assert stream(sweep, "blocks", of="log.txt") == b"# task 1 T=1\nlog 1\n# task 2 T=2\nlog 2\n"
    assert fill(sweep, "split=5", tmp_path / "a", of="out-{T}.csv") == {
        "part-000001.csv": b"csv 1",
        "part-000002.csv": b"csv 2",
    }
    assert fill(sweep, "files", tmp_path / "b", of="log.txt") == {
        "1/log.txt": b"log 1",
        "2/log.txt": b"log 2",
    }


def test_a_folder_of_files_is_taken_whole_and_in_order(world: World) -> None:
    world.declares("deep")
    world.task(files={"deep/b": b"2", "deep/a": b"1"})
    assert stream(world, "concat", of="deep") == b"12"
    assert stream(world, "concat", of="deep/b") == b"2"


def test_what_is_not_declared_is_named_with_what_is(sweep: World) -> None:
    with pytest.raises(UsageError, match="no such file is declared") as caught:
        stream(sweep, "concat", of="lgo.txt")
    assert caught.value.hint == "one of: stdout, stderr, out-{T}.csv, log.txt"


def test_files_that_lost_bytes_are_no_results(world: World) -> None:
    world.declares("log.txt")
    world.task(files={"log.txt": b"whole"})
    (world.blobs / world.tasks[0].files[0].sha256).write_bytes(b"hal")
    with pytest.raises(CorralError, match="3 instead of 5"):
        stream(world, "concat", of="log.txt")


# ------------------------------------------------------------------- files


def test_files_of_stdout_are_one_a_task(sweep: World, tmp_path: Path) -> None:
    sweep.task("3", stdout=b"x" * 100_000)
    assert fill(sweep, "files", tmp_path / "a", of="stdout") == {
        "1.txt": b"out\n",
        "2.txt": b"out\n",
        "3.txt": b"x" * 100_000,
    }


def test_files_are_the_declared_ones_and_stdout_where_there_are_none(
    world: World, sweep: World, tmp_path: Path
) -> None:
    assert set(fill(sweep, "files", tmp_path / "a")) == {
        "out-1.csv", "out-2.csv", "1/log.txt", "2/log.txt",
    }  # fmt: skip
    plain = World(world.blobs)
    plain.task(stdout=b"1")
    assert fill(plain, "files", tmp_path / "b") == {"1.txt": b"1"}


def test_a_users_own_file_is_not_replaced(sweep: World, tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_bytes(b"mine")
    with pytest.raises(CorralError, match=r"1\.txt is there and not corral's"):
        fill(sweep, "files", tmp_path, of="stdout")
    assert (tmp_path / "1.txt").read_bytes() == b"mine"
    assert (tmp_path / "2.txt").read_bytes() == b"out\n"


# ------------------------------------------------------------------- split


@given(outputs=st.lists(st.binary(max_size=9)), limit=st.integers(1, 20))
def test_parts_in_the_order_of_their_names_are_the_concatenation(
    outputs: list[bytes], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.getbasetemp()
    world = World(base / "blobs")
    for output in outputs:
        world.task(stdout=output)
    parts = fill(world, f"split={limit}", base / "parts")
    assert b"".join(parts.values()) == b"".join(outputs)
    ends, end = {0}, 0
    for output in outputs:
        ends.add(end := end + len(output))
    end = 0
    for part in parts.values():
        end += len(part)
        assert end in ends, "a part ends where a result ends"
        assert len(part) <= limit or part in outputs, "too large only if one result alone is"


def test_as_much_goes_into_a_part_as_fits(world: World, tmp_path: Path) -> None:
    for size in (4, 6, 1, 20, 2, 2):
        world.task(stdout=b"x" * size)
    parts = fill(world, "split=10", tmp_path / "parts")
    assert [len(part) for part in parts.values()] == [10, 1, 20, 4]


def test_splitting_again_leaves_what_did_not_change_and_takes_its_own_away(
    world: World, tmp_path: Path
) -> None:
    for byte in b"abc":
        world.task(stdout=bytes([byte]))
    fill(world, "split=1", tmp_path)
    (tmp_path / "notes").write_text("mine")
    before = (tmp_path / "part-000001.txt").stat().st_ino
    del world.tasks[2]
    assert set(fill(world, "split=1", tmp_path)) == {
        "part-000001.txt", "part-000002.txt", "notes",
    }  # fmt: skip
    assert (tmp_path / "part-000001.txt").stat().st_ino == before


def test_split_does_not_replace_a_users_own_file(world: World, tmp_path: Path) -> None:
    world.task(stdout=b"x")
    (tmp_path / "part-000001.txt").write_text("mine")
    with pytest.raises(UsageError, match="not corral's"):
        fill(world, "split=1M", tmp_path)
    assert (tmp_path / "part-000001.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ("split", "split=100M"),
        ("split=", "100M"),
        ("split=0", "split=100M"),
        ("split=much", "100M"),
        ("tabel", "did you mean table?"),
        ("spilt", "did you mean split=SIZE?"),
        ("table=nothing", "a pattern such as"),
        ("table=(", "a pattern such as"),
        ("concat=1", "did you mean concat?"),
        ("", "one of: concat"),
    ],
)
def test_what_is_no_rule_is_told_with_the_way_out(rule: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        rules.read(rule)
    assert hint in (caught.value.hint or "")


# ------------------------------------------------------------------- the user's own program


def test_a_program_gets_parameters_and_paths_and_its_stdout_is_the_collection(
    sweep: World, tmp_path: Path
) -> None:
    sweep.folder = str(tmp_path)
    program(tmp_path, ECHO)
    with (tmp_path / "all").open("wb") as out:
        done = gather.into_stream(sweep, rules.read("./collect.py"), out)
    assert done.results == 2
    assert (tmp_path / "all").read_text() == (
        "1 {'T': '1'} 1 out\n|out-1.csv csv 1|log.txt log 1|"
        "2 {'T': '2'} 1 out\n|out-2.csv csv 2|log.txt log 2|"
    )


def test_a_program_may_read_large_results_last_and_all_paths_are_there(
    world: World, tmp_path: Path
) -> None:
    world.folder = str(tmp_path)
    for number in range(3):
        world.task(stdout=bytes([65 + number]) * 100_000)
    program(
        tmp_path,
        "#!/usr/bin/env python3\nimport json, sys\n"
        "paths = [json.loads(line)['stdout'] for line in sys.stdin]\n"
        "for path in reversed(paths): print(open(path).read()[0], end='')\n",
    )
    with (tmp_path / "all").open("w+b") as out:
        gather.into_stream(world, rules.read("./collect.py"), out)
        out.seek(0)
        assert out.read() == b"CBA"


def test_a_program_that_wants_no_more_is_no_error(world: World, tmp_path: Path) -> None:
    world.folder = str(tmp_path)
    for _ in range(2_000):
        world.task(stdout=b"x")
    program(tmp_path, "#!/bin/sh\nhead -n 1 | cut -c 1-9\n")
    with (tmp_path / "all").open("w+b") as out:
        gather.into_stream(world, rules.read("./collect.py"), out)
        out.seek(0)
        assert out.read() == b'{"task":1\n'


def test_a_program_that_fails_keeps_the_old_output_and_all_else_is_new(
    world: World, folder: Path, tmp_path: Path
) -> None:
    world.folder = str(tmp_path)
    world.task(stdout=b"one\n")
    collect(world, folder)
    world.task(stdout=b"two\n")
    world.rule = "./collect.py"
    program(tmp_path, "#!/bin/sh\necho half; echo 'no such column' >&2; exit 3\n")
    with pytest.raises(CorralError, match=r"\./collect\.py: exit 3: no such column"):
        collect(world, folder)
    assert (folder / "output.txt").read_bytes() == b"one\n"
    assert len((folder / "results.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no such program"),
        ("#!/no/such/interpreter\n", "cannot be started"),
        ("", "cannot be started"),
    ],
)
def test_a_program_that_cannot_be_started_is_told(
    world: World, tmp_path: Path, text: str | None, said: str
) -> None:
    world.folder = str(tmp_path)
    if text is not None:
        program(tmp_path, text)
    with (tmp_path / "all").open("wb") as out, pytest.raises(UsageError, match=said):
        gather.into_stream(world, rules.read("./collect.py"), out)


def test_nothing_of_a_program_is_left(world: World, tmp_path: Path) -> None:
    world.folder = str(tmp_path)
    world.task()
    program(tmp_path, "#!/bin/sh\nsleep 600 & echo $!\n")
    with (tmp_path / "all").open("w+b") as out:
        gather.into_stream(world, rules.read("./collect.py"), out)
        out.seek(0)
        pid = int(out.read())
    wait_until(lambda: not lives(pid), what="the sleeper is gone")


# ------------------------------------------------------------------- in the results folder


def test_the_runs_rule_may_make_a_folder_in_place_of_output_txt(sweep: World, folder: Path) -> None:
    collect(sweep, folder)
    sweep.rule = "split=4"
    collect(sweep, folder)
    assert not (folder / "output.txt").exists()
    assert sorted(os.listdir(folder / "output")) == ["part-000001.txt", "part-000002.txt"]
    assert (folder / "files" / "out-1.csv").exists()
    sweep.rule = "files"
    collect(sweep, folder)
    assert sorted(os.listdir(folder / "output")) == ["1.txt", "2.txt"]
    sweep.rule = "concat"
    collect(sweep, folder)
    assert (folder / "output.txt").read_bytes() == b"out\nout\n"
    assert not list((folder / "output").glob("*"))


def test_the_runs_rule_table_gives_results_csv_a_column_a_value(world: World, folder: Path) -> None:
    world.names, world.rule = ("T",), "table"
    world.task("1", state="active", exit=None)
    world.task("2", stdout=b"E=2.50 M=1\n")
    world.task("3", stdout=b"E=3\nE=4 host=x\n")
    collect(world, folder)
    assert [line.split(",")[:8] for line in (folder / "results.csv").read_text().splitlines()] == [
        ["task", "T", "rep", "E", "M", "host_", "state", "exit"],
        ["1", "1", "1", "", "", "", "active", ""],
        ["2", "2", "1", "2.50", "1", "", "done", "0"],
        ["3", "3", "1", "4", "", "x", "done", "0"],
    ]
    assert (folder / "output.txt").read_bytes() == b"E=2.50 M=1\nE=3\nE=4 host=x\n"


def test_what_a_task_wrote_to_its_result_file_is_in_results_csv_whatever_the_rule(
    world: World, folder: Path
) -> None:
    world.task(stdout=b"E=1\n", told=json.dumps({"E": 2.5, "deep": {"x": None, "y": True}}))
    collect(world, folder)
    assert (folder / "results.csv").read_text().splitlines() == [
        "task,rep,E,deep.y,state,exit,seconds,peak_mb,host,attempt",
        "1,1,2.5,true,done,0,1.500,2.0,gpu07,1",
    ]
