"""``corral test`` on this machine: one task, its verdict, and nothing left."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from corral.store.folder import StateFolder
from tests.support.tail import Tail
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared


@pytest.fixture
def trial(corral: Corral, tmp_path: Path) -> Iterator[Corral]:
    """The command line; what is temporary goes where the test can see it."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    corral.environment["TMPDIR"] = str(temporary)
    yield corral
    assert list(temporary.iterdir()) == []
    assert not (corral.folder / ".corral").exists()


def test_the_first_task_is_run_and_nothing_else(trial: Corral) -> None:
    done = trial("test", f"echo {{1..5}} >> {trial.folder}/ran; cat {trial.folder}/ran")
    assert "localhost: done in" in done.stdout
    assert (trial.folder / "ran").read_text() == "1\n"


def test_a_state_folder_that_is_there_is_not_touched(trial: Corral, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    trial.folder = there
    trial("run", "-q", "echo {1..2}")
    before = {path: path.stat().st_mtime_ns for path in there.rglob("*")}
    trial("test", "echo {1..2}")
    assert {path: path.stat().st_mtime_ns for path in there.rglob("*")} == before
    trial.folder = tmp_path


def test_a_program_that_is_not_there_fails_it(trial: Corral) -> None:
    done = trial("test", "-q", "no-such-program-here", "{1..2}", code=1)
    assert "localhost: cannot start no-such-program-here" in done.stdout
    assert done.stderr == ""


def test_a_result_that_its_check_rejects_fails_it(trial: Corral) -> None:
    done = trial("test", "--check", "lines=2", "echo {1..2}", code=1)
    assert "localhost: stdout has 1 line instead of 2" in done.stdout


def test_json_has_facts_and_task_of_each_host(trial: Corral) -> None:
    found = trial.json("test", "-q")
    assert found["command"] == "echo corral works"
    [host] = found["hosts"]
    assert host["facts"]["cores"] >= 1
    assert (host["task"]["fault"], host["task"]["bytes"]) == ("", 13)


@pytest.mark.parametrize("flag", ["-n", "-d", "--stream", "--fresh"])
def test_flags_that_are_of_a_run_alone_are_unknown(trial: Corral, flag: str) -> None:
    assert "no such option" in trial("test", flag, "echo 1", code=2).stderr


def test_ctrl_c_kills_the_task_and_leaves_nothing(trial: Corral) -> None:
    pid_file = trial.folder / "pid"
    tail = Tail(
        trial, "test", f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 600"
    )
    try:
        wait_until(pid_file.exists, what="the task runs")
        tail.process.send_signal(signal.SIGINT)
        assert tail.wait() == 130, tail.err()
        assert "Traceback" not in tail.err()
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid_file.read_text()), 0)
    finally:
        tail.close()


def test_what_a_killed_one_left_goes_with_the_next(trial: Corral, tmp_path: Path) -> None:
    started = trial.folder / "started"
    process = trial.start("test", f"touch {started}; sleep 600")
    wait_until(started.exists, what="the task runs")
    process.kill()
    process.wait()
    (left,) = (tmp_path / "temporary").iterdir()
    owner = StateFolder(left / ".corral").owner
    trial("test", "echo 1")
    assert not left.exists()
    trial("reap", "--owner", owner, "--yes")
