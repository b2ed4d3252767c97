"""Does corral keep its promises if it is killed before or after any call that lasts?

Every point of the source has its turn. The command is killed there, or its agent; then the run goes
on by what a user would do, or by itself, and comes to what a quiet run comes to.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.failpoints.jobs import JOBS, armed, begin, check, go_on
from tests.failpoints.points import SCENES, points, sources

if TYPE_CHECKING:
    from tests.support.corral import Corral

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
POINTS = [
    name
    for file, text in sources().items()
    for name in points(file, text)
    if name.rpartition(".")[0] not in SCENES
]


@pytest.mark.slow
@pytest.mark.timeout(60)  # up to three commands, on a machine that is shared
@pytest.mark.parametrize("hit", range(1, HITS + 1))
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_point_costs_nothing(corral: Corral, point: str, hit: int) -> None:
    job = ELSEWHERE.get(point.rpartition(".")[0], "farm")
    mark = corral.folder / "killed"
    begin(corral, JOBS[job])
    with armed(corral, f"{point}:{hit}", mark):
        done = corral(*JOBS[job].words, code=None)
    assert mark.exists() or hit > 1, "it was never passed"
    if done.returncode in (-signal.SIGKILL, NO_HOST) or "-d" in JOBS[job].words:
        go_on(corral, JOBS[job])
    else:
        assert done.returncode == JOBS[job].code, done.stderr
    check(corral, job)
