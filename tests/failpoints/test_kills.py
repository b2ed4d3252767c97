"""Does corral keep its promises if it is killed before or after any call that lasts?

Every point of the source has its turn. The command is killed there, or its agent; then the run goes
on by what a user would do, or by itself, and comes to what a quiet run comes to.
"""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from corral.engine import audit, queries
from corral.store.folder import StateFolder
from corral.store.sqlite import SqliteReader
from tests.failpoints.jobs import JOBS, Job, collected, kept, started
from tests.failpoints.points import points, sources
from tests.support.corral import Corral
from tests.support.invariants import Checks
from tests.support.wait import wait_until

HITS = int(os.environ.get("HITS", "1"))  # at which passings of each point; `make failpoints`

NO_HOST = 3  # the only host's agent was killed before it stood
ELSEWHERE = {  # what passes a point (its name without the last word), if not the farm
    "program.start": "checked",
    "program.wait": "checked",
    "program.kill": "checked",
    "program.reap": "checked",
    "after_setup.fork": "set up",
    "_wait_for.waitpid": "set up",
    "fork_exec.waitpid": "broken",
    "follow.detach": "detached",
}
FAR = {  # has tests of its own: it takes hosts, a second command, or something that hangs
    "ssh.start", "ssh.kill", "ssh.reap", "gate.start", "gate.kill", "users.answer",
    "_try_script.waitpid", "_wait_for.killpg", "_end.kill", "end_supervisor.kill",
}  # fmt: skip
POINTS = [
    name
    for file, text in sources().items()
    for name in points(file, text)
    if name.rpartition(".")[0] not in FAR
]


@functools.cache
def quiet(job: str) -> tuple[dict[str, bytes], set[str]]:
    """Give what a job comes to when nothing is killed, and what it leaves."""
    with tempfile.TemporaryDirectory() as folder:
        corral = Corral(Path(folder))
        begin(corral, JOBS[job])
        corral(*JOBS[job].words, code=None)
        go_on(corral, JOBS[job])
        return collected(corral, JOBS[job]), kept(corral)


def begin(corral: Corral, job: Job) -> None:
    (corral.folder / "tmp").mkdir()
    corral.environment["TMPDIR"] = str(corral.folder / "tmp")
    job.prepare(corral)


def go_on(corral: Corral, job: Job) -> None:
    """Do what a user would do whose command was killed, or had no host to go on with."""
    if not is_submitted(corral):
        corral(*job.words, code=None)
    corral("resume", code=job.code)
    wait_until(lambda: not corral.master(), what="no master is left")


def is_submitted(corral: Corral) -> bool:
    """Say whether a run of this folder is open, or ended."""
    folder = StateFolder(corral.folder / ".corral")
    if not folder.database.exists():
        return False
    store = folder.open_store()
    with closing(store), store.reader() as reader:
        return any(row.state != "preparing" for row in queries.runs(reader))


def check(corral: Corral, job: str) -> None:
    """See that every promise was kept."""
    result, left = quiet(job)
    assert collected(corral, JOBS[job]) == result
    assert kept(corral) == left
    folder = StateFolder(corral.folder / ".corral")
    with closing(sqlite3.connect(folder.database)) as database:
        checks = Checks(database)
        checks.everything()
        checks.at_rest()
        checks.starts(started(corral))
        assert list(audit.contents(SqliteReader(database), folder.blobs, deep=True)) == []


@pytest.mark.slow
@pytest.mark.parametrize("hit", range(1, HITS + 1))
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_point_costs_nothing(corral: Corral, point: str, hit: int) -> None:
    job = ELSEWHERE.get(point.rpartition(".")[0], "farm")
    mark = corral.folder / "killed"
    begin(corral, JOBS[job])
    armed = {"CORRAL_FAILPOINT": f"{point}:{hit}", "CORRAL_FAILPOINT_MARK": str(mark)}
    corral.environment.update(armed)
    done = corral(*JOBS[job].words, code=None)
    for name in armed:
        del corral.environment[name]
    assert mark.exists() or hit > 1, "it was never passed"
    if done.returncode in (-signal.SIGKILL, NO_HOST) or "-d" in JOBS[job].words:
        go_on(corral, JOBS[job])
    else:
        assert done.returncode == JOBS[job].code, done.stderr
    check(corral, job)
