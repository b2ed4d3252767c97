"""Does `corral why` name what keeps a run from its end, and what it is on otherwise?"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared


@pytest.fixture
def held(corral: Corral) -> Iterator[Corral]:
    """A run of three tasks, one of which runs until the test ends."""
    flag = corral.folder / "flag"
    line = f"until test -e {flag}; do sleep 0.05; done; : {{n=1..3}}"
    corral("run", "-d", "--name", "it", "-j1", "--heartbeat", "0.3s", line)
    wait_until(lambda: corral.json("status", "it")["running"] == 1, seconds=20, what="one runs")
    yield corral
    flag.touch()
    corral("attach", "it")
    assert "it is done: all 3 tasks have a result." in corral("why", "it").stdout


def test_of_a_run_on_one_sound_host_the_tasks_are_counted(held: Corral) -> None:
    """Bug: "1 tasks run"."""
    said = held("why", "it").stdout
    assert said.startswith("it is under way: 1 task runs, 2 wait for a slot.\n")
    assert "It is on" not in said


def test_the_host_that_a_run_waits_for_is_named(held: Corral) -> None:
    """Bug: with its only host silent, a run was said to be under way, and no more."""
    agent = [held.named(name) for name in ("corral-super", "corral-link")]
    for pid in agent:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(
            lambda: "suspect" in held("status", "it").stdout, seconds=20, what="silence is noticed"
        )
        said = held("why", "it").stdout
        of_task = held("why", "it", "3").stdout
    finally:
        for pid in agent:
            os.kill(pid, signal.SIGCONT)
    on = "It is on 0 of 1 hosts (localhost suspect): corral why localhost\n"
    assert on in said
    assert on in of_task
