"""Collecting by each rule, from the command line: while a run is on, after it, again and again."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.group import group_lives
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared
COLLECT = """#!/usr/bin/env python3
import json, sys
for line in sys.stdin:
    told = json.loads(line)
    print(told["task"], told["parameters"]["n"], open(told["stdout"]).read(), end="")
"""


def test_each_rule_any_number_of_times(corral: Corral) -> None:
    corral.write("collect.py", COLLECT, executable=True)
    corral(
        "run", "-q", "--output", "log-{n}.txt", "echo E=$(({n=1..3} * 2)); echo {n} > log-{n}.txt"
    )
    for _ in range(2):
        assert corral("collect", "--as", "concat").stdout == "E=2\nE=4\nE=6\n"
        assert corral("collect", "--as", "./collect.py").stdout == "1 1 E=2\n2 2 E=4\n3 3 E=6\n"
        assert corral("collect", "--of", "log-{n}.txt").stdout == "1\n2\n3\n"
        corral("collect", "--as", "split=8", "-o", "parts")
        parts = sorted(path.name for path in (corral.folder / "parts").glob("part*"))
        assert parts == ["part-000001.txt", "part-000002.txt"]
        corral("collect", "--as", "files", "-o", "each")
        assert (corral.folder / "each" / "log-2.txt").read_text() == "2\n"
        corral("collect", "--as", "table", "-o", "table.jsonl")
        rows = [
            json.loads(line) for line in (corral.folder / "table.jsonl").read_text().splitlines()
        ]
        assert [(row["n"], row["E"], row["host"]) for row in rows] == [
            (1, 2, "localhost"), (2, 4, "localhost"), (3, 6, "localhost"),
        ]  # fmt: skip


def test_a_program_that_hangs_dies_with_a_corral_that_is_killed(corral: Corral) -> None:
    corral("run", "-q", "echo {n=1}")
    corral.write("hangs.sh", "#!/bin/sh\necho $$ > started\nsleep 60 & wait\n", executable=True)
    process = corral.start("collect", "--as", "./hangs.sh")
    told = corral.folder / "started"
    wait_until(lambda: told.exists() and told.read_text().strip(), what="the program runs")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    group = int(told.read_text())
    wait_until(lambda: not group_lives(group), what="it has died with all it started")


def test_a_live_run_can_be_collected_by_any_rule(corral: Corral) -> None:
    corral("run", "-q", "-d", "--here", "--name", "live",
           "test {n=1..3} = 3 && until test -e go; do sleep 0.02; done; echo E={n}")  # fmt: skip
    wait_until(
        lambda: corral.json("status", "live")["run"]["counts"]["done"] == 2,
        seconds=15,
        what="two of three are done",
    )
    assert corral("collect", "live", "--as", "tagged").stdout == "1\tE=1\n2\tE=2\n"
    groups = corral("collect", "live", "--as", "table", "--group", "rep").stdout.splitlines()
    assert groups[1].startswith("1,2,1.5,0.7071067812,")
    (corral.folder / "go").touch()
    corral("attach", "live", code=None)
    assert corral("collect", "live", "--as", "concat").stdout == "E=1\nE=2\nE=3\n"


def test_the_run_says_its_rule_in_an_option_or_in_its_file(corral: Corral) -> None:
    corral("run", "-q", "--collect", "table", "echo E={n=1,2}")
    assert [(row["n"], row["E"]) for row in corral.rows("echo")] == [("1", "1"), ("2", "2")]
    corral.write("job.toml", 'run = "echo {n=1..3}"\ncollect = "split=2"\n')
    corral("run", "-q", "job.toml")
    output = corral.results("job") / "output"
    assert sorted(path.name for path in output.iterdir()) == [
        "part-000001.txt", "part-000002.txt", "part-000003.txt",
    ]  # fmt: skip
    assert 'collect = "split=2"' in (corral.results("job") / "run.toml").read_text()


def test_another_rule_is_the_same_run(corral: Corral) -> None:
    corral("run", "-q", "echo {n=1,2}")
    corral("run", "-q", "--collect", "tagged", "echo {n=1,2}")
    assert corral.output("echo") == "1\t1\n2\t2\n"
    assert corral.starts() == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--collect", "tabel"), "did you mean table?"),
        (("--collect", "./nothing.py"), "there is no such program"),
        (("--collect", "table=(?P<E"), "regular expression"),
    ],
)
def test_a_rule_that_cannot_be_is_told_before_the_start(
    corral: Corral, words: tuple[str, ...], said: str
) -> None:
    assert said in corral("run", *words, "echo {n=1,2}", code=2).stderr
    assert corral("ls", code=None).stdout == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--as", "split=1M"), "needs a folder"),
        (("--as", "concat", "--group", "n"), "--group is for tables"),
        (("--group", "x"), "there is no such column"),
        (("--of", "x.txt"), "no such file is declared"),
    ],
)
def test_a_wish_that_cannot_be_is_told(corral: Corral, words: tuple[str, ...], said: str) -> None:
    corral("run", "-q", "echo {n=1,2}")
    assert said in corral("collect", *words, code=2).stderr


def test_results_without_values_are_told(corral: Corral) -> None:
    corral("run", "-q", "echo {n=a,b}")
    done = corral("collect", "--as", "table")
    assert done.stderr == "2 of 2 results hold no value\n"
    assert len(done.stdout.splitlines()) == 3


def test_what_is_no_file_is_written_into_not_replaced(corral: Corral) -> None:
    corral("run", "-q", "echo 1")
    corral("collect", "--as", "concat", "-o", "/dev/null")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
