"""What if the machine's own clock is another one after a restart? Real clocks, by time namespaces.

A master that follows another one may find the clock that never goes back a day ahead or behind, as
after a reboot. (The wall clock's jumps are in the simulation: no namespace has one of its own.)
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.corral import Corral

DAY_AHEAD = ("unshare", "--time", "--monotonic", "86400", "--boottime", "86400", "--fork")

pytestmark = [pytest.mark.system("time namespaces"), pytest.mark.timeout(60)]


@pytest.mark.parametrize(
    ("first", "then"), [((), DAY_AHEAD), (DAY_AHEAD, ())], ids=["ahead", "back"]
)
def test_the_next_master_has_another_clock(
    corral: Corral, first: tuple[str, ...], then: tuple[str, ...]
) -> None:
    go = corral.folder / "go"
    corral.prefix = first
    process = corral.start(
        "run", "-j2", f"while ! test -e {go}; do sleep 0.05; done; echo done {{1..4}}"
    )
    wait_until(lambda: len(corral.processes(tasks_only=True)) >= 2, what="two tasks run")
    os.kill(corral.master(), signal.SIGKILL)
    process.wait()
    corral.prefix = then
    resumed = corral.start("resume")
    wait_until(lambda: corral.master(), what="a new master")
    wait_until(lambda: _is_heard(corral), what="the agent is heard")
    go.touch()
    out, err = resumed.communicate(timeout=30)
    assert resumed.returncode == 0, (out, err)
    assert corral.output("while") == "".join(f"done {n}\n" for n in range(1, 5))
    assert [a["reason"] for a in corral.json("attempts")["attempts"]] == ["first"] * 4
    corral("db", "check", "--deep")


def _is_heard(corral: Corral) -> bool:
    return all(host["state"] == "up" for host in corral.json("hosts")["hosts"])
