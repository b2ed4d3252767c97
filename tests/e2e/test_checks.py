"""Checks on real runs: what is rejected is kept and given out again; no verdict is no result."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.group import group_lives
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared
GOOD_AT_LAST = """#!/bin/sh
echo x >> "{folder}/tries.$1"
if test "$(wc -l < "{folder}/tries.$1")" -lt 3; then echo bad; else echo E=$1; fi
"""
CHECK = """#!/usr/bin/env python3
import json, os, sys
told = json.loads(sys.stdin.readline())
text = open(told["stdout"]).read()
if text == "bad\\n":
    sys.exit(f"{told['parameters']['n']} is bad")
if text == "ill\\n" and not os.path.exists("healed"):
    raise RuntimeError("cannot tell")
"""


def outcomes(corral: Corral, name: str) -> list[tuple[str, str, str]]:
    rows = corral.rows(name, "attempts.csv")
    return [(row["task"], row["reason"], row["outcome"]) for row in rows]


def test_a_rejected_result_is_kept_and_its_task_given_out_again(corral: Corral) -> None:
    corral.write("sim", GOOD_AT_LAST.format(folder=corral.folder), executable=True)
    corral("run", "-q", "--retries", "2", "--check", "matches=^E=", "./sim {n=1,2}")
    for task in "12":
        assert [row for row in outcomes(corral, "sim") if row[0] == task] == [
            (task, "first", "rejected"),
            (task, "rejected", "rejected"),
            (task, "rejected", "accepted"),
        ]
    assert corral.output("sim") == "E=1\nE=2\n"
    assert corral("logs", "2", "--attempt", "1").stdout == "bad\n"
    assert corral("logs", "2", "--attempt", "3").stdout == "E=2\n"
    assert "has no attempt 4" in corral("logs", "2", "--attempt", "4", code=2).stderr
    assert "does not match ^E=: 'bad'" in corral("show", "2", "--attempt", "1").stdout


def test_without_retries_one_machine_is_asked_once(corral: Corral) -> None:
    corral("run", "-q", "--check", "nonempty", "test {n=1,2} = 1 && echo 1; true", code=1)
    assert outcomes(corral, "test") == [("1", "first", "accepted"), ("2", "first", "rejected")]
    assert corral.rows("test", "failed.csv")[0]["reason"] == "stdout is empty"


def test_a_check_that_hangs_dies_with_a_master_that_is_killed(corral: Corral) -> None:
    hangs = "#!/bin/sh\ntest -e healed && exit\necho $$ > checks\nsleep 60 & wait\n"
    corral.write("check.sh", hangs, executable=True)
    process = corral.start("run", "--check", "./check.sh", "echo {n=1}")
    told = corral.folder / "checks"
    wait_until(lambda: told.exists() and told.read_text().strip(), what="the check runs")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    group = int(told.read_text())
    wait_until(lambda: not group_lives(group), what="it has died with all it started")
    corral.write("healed", "")
    corral("resume")
    assert corral.output("echo") == "1\n"


def test_files_of_a_rejected_result_are_kept(corral: Corral) -> None:
    corral(
        "run", "-q", "--check", "out.txt:lines=2", "--output", "out.txt", "echo {n=1} > out.txt",
        code=1,
    )  # fmt: skip
    assert corral.rows("echo", "failed.csv")[0]["reason"] == "out.txt has 1 line instead of 2"
    assert corral("logs", "1", "--of", "out.txt").stdout == "1\n"
    assert not (corral.results("echo") / "files").exists()


def test_checks_stand_in_the_run_file_and_make_another_run(corral: Corral) -> None:
    corral.write("job.toml", 'run = "echo {n=1..2}"\ncheck = ["lines=1", "size>=2"]\n')
    corral("run", "-q", "job.toml")
    assert 'check = ["lines=1", "size>=2"]' in (corral.results("job") / "run.toml").read_text()
    corral("run", "-q", str(corral.results("job") / "run.toml"))
    assert corral.starts() == 2
    corral.write("job.toml", 'run = "echo {n=1..2}"\ncheck = "lines=2"\n')
    corral("run", "-q", "job.toml", code=1)
    assert corral.starts() == 4


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("nonemty", "did you mean nonempty?"),
        ("./check.py", "there is no such program"),
        ("out.txt:json", "no such file is declared"),
    ],
)
def test_a_check_that_cannot_be_is_told_before_the_start(
    corral: Corral, check: str, said: str
) -> None:
    assert said in corral("run", "--check", check, "echo 1", code=2).stderr


def test_a_program_rejects_and_its_crash_pauses_the_run_until_it_can_tell(corral: Corral) -> None:
    corral.write("check.py", CHECK, executable=True)
    corral.write("say", "#!/bin/sh\necho $1\n", executable=True)
    paused = corral("run", "-q", "--check", "./check.py", "./say {n=bad,ill,good}", code=5)
    assert paused.stdout == "results/say\n"
    assert corral.json("status")["run"]["reason"] == (
        "no verdict on task 2: ./check.py: exit 1: RuntimeError: cannot tell"
    )
    assert "mend what checks" in corral("why").stdout
    assert corral.output("say") == "good\n"
    (corral.folder / "healed").touch()
    corral("resume", code=1)
    assert corral.output("say") == "ill\ngood\n"
    assert corral.starts() == 3, "what could not be judged was not run again"
    assert corral.rows("say", "failed.csv")[0]["reason"] == "./check.py: bad is bad"


def test_a_follower_of_a_run_that_nobody_can_judge_is_let_go(corral: Corral) -> None:
    corral.write("check.py", "#!/bin/sh\nkill -9 $$\n", executable=True)
    other = corral.start("run", "-q", "--here", "until test -e go; do sleep 0.02; done; true {n=1}")
    wait_until(corral.master, what="a master")
    corral("run", "-q", "--check", "./check.py", "echo {n=1,2}", code=5)
    (corral.folder / "go").touch()
    assert other.wait(20) == 0


def test_a_master_that_ends_takes_the_checking_program_with_it(corral: Corral) -> None:
    corral.write("check.py", "#!/bin/sh\necho $$ > checking\nexec sleep 600\n", executable=True)
    run = corral.start("run", "-q", "--check", "./check.py", "echo {n=1}")
    checking = corral.folder / "checking"
    wait_until(lambda: checking.exists() and checking.read_text().strip(), what="it checks")
    pid = int(checking.read_text())
    os.kill(run.pid, signal.SIGINT)
    wait_until(lambda: corral.json("status")["run"]["state"] == "halted", what="it halts")
    os.kill(run.pid, signal.SIGINT)
    assert run.wait(15) == 130
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the checking program is gone")
    corral.write("check.py", "#!/bin/sh\nexit 0\n", executable=True)
    corral("resume")
    assert corral.starts() == 1


@pytest.mark.timeout(90)  # eighty programs, two at a time
def test_checks_that_take_their_time_keep_no_other_run_waiting(corral: Corral) -> None:
    corral.write("check.py", "#!/bin/sh\nuntil test -e go; do sleep 0.05; done\n", executable=True)
    slow = corral.start("run", "-q", "--check", "./check.py", "echo {n=1..80}")
    wait_until(
        lambda: (
            corral.master()
            and [a["state"] for a in corral.json("attempts")["attempts"]].count("reported") == 80
        ),
        seconds=30,
        what="all are reported, more than wait for a seat",
    )
    corral("run", "-q", "--name", "quick", "--check", "nonempty", "echo {n=1,2}")
    assert corral.json("status", "echo")["run"]["counts"]["done"] == 0
    (corral.folder / "go").touch()
    assert slow.wait(30) == 0
