"""The other ways to give values, on the real command line."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared


def test_a_list_of_commands_runs_each_line_and_grows_with_the_file(corral: Corral) -> None:
    corral.write("tool", "#!/bin/sh\necho tool $1\n", executable=True)
    corral.write("cmds.txt", "./tool a\n# a comment\necho 'b  b' | cat\nfalse || echo c {task}\n")
    corral("run", "-f", "cmds.txt")
    assert corral.output("cmds") == "tool a\nb  b\nc 3\n"
    corral.write("cmds.txt", "echo new\n./tool a\necho 'b  b' | cat\nfalse || echo c {task}\n")
    again = corral("run", "-f", "cmds.txt")
    assert "3 kept, 1 new" in again.stderr
    assert corral.output("cmds") == "new\ntool a\nb  b\nc 3\n"
    assert corral.starts() == 4


def test_each_list_is_a_run_of_its_own(corral: Corral) -> None:
    corral.write("one.txt", "echo same\n")
    corral.write("two.txt", "echo same\n")
    corral("run", "-f", "one.txt")
    corral("run", "-f", "two.txt")
    assert [run["name"] for run in corral.json("ls")["runs"]] == ["one", "two"]


def test_counts_are_tasks_and_not_lines(corral: Corral) -> None:
    corral.write("cmds.txt", "200x echo hi\necho once\n")
    corral("run", "-q", "--counts", "-f", "cmds.txt")
    assert corral.output("cmds") == "hi\n" * 200 + "once\n"
    corral.write("cmds.txt", "203x echo hi\necho once\n")
    assert "201 kept, 3 new" in corral("run", "--counts", "-f", "cmds.txt").stderr


def test_a_sample_grows_with_its_limit(corral: Corral) -> None:
    command = ["--shuffle", "echo {1..1000}"]
    corral("run", "-q", "--limit", "5", *command)
    first = corral.output("echo").split()
    assert "5 kept, 3 new" in corral("run", "--limit", "8", *command).stderr
    assert corral.output("echo").split()[:5] == first
    assert first != sorted(first, key=int)


def test_an_optional_value_does_not_eat_the_command(corral: Corral) -> None:
    assert corral("run", "-n", "--shuffle", "echo", "--shuffle").stdout == "echo --shuffle\n"
    assert corral("run", "-n", "--shuffle=3", "-r2", "echo {rep}", ":::", "x").returncode == 0
    assert "not a valid integer" in corral("run", "--shuffle=x", "echo", code=2).stderr


def test_an_expression_runs_only_what_is_wanted_and_ships_only_its_files(corral: Corral) -> None:
    for t, size in ((1, 1), (1, 2), (2, 1)):  # there is no file for 2, 2
        corral.write(f"in-{t}-{size}.txt", f"{t}{size}\n")
    corral("run", "--where", "T*L < 4", "cat {<in-{T}-{L}.txt}; : {T=1..2} {L=1..2}")
    assert corral.output("cat") == "11\n12\n21\n"
    wrong = corral("run", "--where", "T*L > 9", "echo {T=1..2} {L=1..2}", code=2)
    assert "holds for none of 4 combinations" in wrong.stderr
    wrong = corral("run", "--where", "T < 2", "echo {T=1,b}", code=2)
    assert "cannot be told for T='b'" in wrong.stderr


def test_a_table_of_failures_feeds_back(corral: Corral) -> None:
    corral("run", "-r2", "test {n=1..4} -lt 3", code=1)
    again = corral("run", "--params", "results/test/failed.csv", "echo {n}")
    assert corral.output("echo") == "3\n4\n"
    assert "only n are taken" in again.stderr or "of which only n" in again.stderr


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (["echo {1} {2}", ":::", "a", "b c", ":::+", "1", "$x"], ""),
        (["--zip", "-p", "T=1..3", "--axes", "echo {T} {a..c}"], ""),
        (["--where", "T > 1", "--shuffle=4", "--limit", "3", "echo {T=1..9}"], ""),
        (["--params", "-", "echo {a} {b}"], 'a,b\n1,"x, y"\n2,z\n'),
        (["echo {@-}"], "one\ntwo\n"),
        (["-f", "-"], "echo 1 | cat\necho 2\n"),
        (["--plain", "-I", "%", "echo", "%", "{}", ":::", "a", "b"], ""),
        (["--exit-code", "77=skip", "echo {1..2}"], ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_run_toml_repeats_a_run_however_it_was_said(
    corral: Corral, words: list[str], stdin: str
) -> None:
    other = type(corral)(corral.folder / "again")
    corral.folder /= "first"  # side by side: each with a state folder of its own
    other.folder.mkdir()
    corral.folder.mkdir()
    corral("run", "--name", "it", *words, stdin=stdin)
    shutil.copy(corral.results("it") / "run.toml", other.folder / "run.toml")
    other("run", "run.toml")
    assert other.output("it") == corral.output("it")


def test_values_that_name_files_are_shipped_behind_a_separator(corral: Corral) -> None:
    corral.write("d/a.txt", "A\n")
    corral.write("d/b.txt", "B\n")
    corral("run", "cat", ":::", "d/a.txt", "d/b.txt")
    assert corral.output("cat") == "A\nB\n"


def test_a_list_and_a_command_exclude_each_other(corral: Corral) -> None:
    corral.write("cmds.txt", "echo\n")
    assert (
        "takes its commands from the file" in corral("run", "-f", "cmds.txt", "echo", code=2).stderr
    )
