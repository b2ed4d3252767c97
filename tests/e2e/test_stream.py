"""Lines of many tasks in one stream: each once, whole, as results come; the work goes on regardless."""

from __future__ import annotations

import subprocess
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared


def test_each_line_of_each_task_once_and_whole(corral: Corral) -> None:
    done = corral(
        "run", "-q", "-j4", "--stream", "for i in 1 2 3; do printf '%s-' {n=1..40}; echo $i; done"
    )
    lines = done.stdout.splitlines()
    assert Counter(lines) == Counter(f"{n}-{i}" for n in range(1, 41) for i in (1, 2, 3))
    assert done.stdout.endswith("\n")


def test_a_tag_says_whose_line_it_is_and_a_last_line_ends(corral: Corral) -> None:
    done = corral("run", "-q", "--tag", "printf 'a\\nb {n=1..3}'; true")
    assert sorted(done.stdout.splitlines()) == [
        f"{n}\t{text}" for n in (1, 2, 3) for text in ("a", f"b {n}")
    ]


def test_lines_come_while_others_still_run(corral: Corral) -> None:
    run = corral.start(
        "run", "-q", "--here", "--stream", "-j2",
        "test {n=1,2} = 1 || until test -e go; do sleep 0.02; done; echo {n}",
    )  # fmt: skip
    assert run.stdout is not None
    assert run.stdout.readline() == "1\n"
    assert corral.json("status")["run"]["counts"]["done"] == 1
    (corral.folder / "go").touch()
    assert run.stdout.readline() == "2\n"
    assert run.wait(15) == 0
    assert run.stdout.read() == ""


def test_only_what_comes_now_is_printed_also_beside_another_master(corral: Corral) -> None:
    corral("run", "-q", "echo {n=1,2}")
    other = corral.start("run", "-q", "--here", "until test -e go; do sleep 0.02; done; true {n=1}")
    wait_until(corral.master, what="a master")
    assert corral("run", "-q", "--stream", "echo {n=1..3}").stdout == "3\n"
    (corral.folder / "go").touch()
    assert other.wait(15) == 0


def test_rejected_and_failed_results_are_not_printed(corral: Corral) -> None:
    corral("run", "-q", "--stream", "--check", "matches=good", "echo {n=good,bad}", code=1)
    done = corral("run", "-q", "--fresh", "--stream", "echo {n=1,2}; test {n} = 1", code=1)
    assert done.stdout == "1\n"


def test_large_results_come_whole(corral: Corral) -> None:
    done = corral("run", "-q", "--tag", "seq 1 {n=200000,100000}")
    lines = done.stdout.splitlines()
    assert len(lines) == 300_000
    assert lines.count("1\t150000") == 1
    changes = sum(a.split("\t")[0] != b.split("\t")[0] for a, b in pairwise(lines))
    assert changes == 1, "one result after the other"


def test_a_reader_that_goes_leaves_the_run_alone(corral: Corral) -> None:
    run = subprocess.Popen(
        corral._words(("run", "-q", "--stream", "echo {n=1..300}")),
        cwd=corral.folder,
        env=corral.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert run.stdout is not None
    run.stdout.readline()
    run.stdout.close()
    assert run.stderr is not None
    said = run.stderr.read()
    run.stderr.close()
    assert run.wait(30) == 0, said
    assert len(corral.output("echo").splitlines()) == 300


@pytest.mark.parametrize("other", ["--json", "-d"])
def test_a_stream_has_stdout_for_itself(corral: Corral, other: str) -> None:
    assert "leave" in corral("run", "--stream", other, "echo 1", code=2).stderr
