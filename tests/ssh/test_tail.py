"""``corral logs -f`` of tasks on real ssh hosts: what they write comes while they write it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.ssh.logins import logins
from tests.support.tail import Tail
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.corral import Corral
    from tests.support.hosts import Bed

pytestmark = [
    pytest.mark.system("sshd"),
    pytest.mark.system("root"),
    pytest.mark.timeout(60),  # several commands with logins each, on a machine that is shared
]

LOUD = (
    "echo {n=1}@$(hostname); echo oh >&2; seq 1 30000; printf half;"
    " until test -e /dev/shm/go; do sleep 0.05; done; echo er"
)


@pytest.fixture
def remote(corral: Corral, farm: Bed) -> Corral:
    """The command line, which reaches the farm's hosts."""
    corral.environment["CORRAL_SSH"] = farm.ssh
    return corral


def test_a_task_on_a_host_is_followed_to_its_end(remote: Corral, farm: Bed) -> None:
    remote("run", "-q", "-d", "-w", "h1", LOUD)
    tail = Tail(remote, "logs", "-f", "1")
    try:
        wait_until(lambda: tail.out().endswith("\n30000\nhalf"), seconds=30, what="it is followed")
        assert tail.err().endswith("oh\n")
        farm["h1"].write("/dev/shm/go", "")
        assert tail.wait() == 0
        after = remote("logs", "1")
        assert tail.out() == after.stdout
        assert after.stdout.startswith("1@h1\n1\n2\n")
        assert after.stdout.endswith("\nhalfer\n")
    finally:
        tail.close()
        farm["h1"].sh("rm -f /dev/shm/go")


def test_a_login_that_breaks_leaves_no_gap(remote: Corral, farm: Bed) -> None:
    remote("run", "-q", "-d", "-w", "h1", LOUD)
    tail = Tail(remote, "logs", "-f", "1", "--stdout")
    try:
        wait_until(lambda: tail.out().endswith("half"), seconds=30, what="it is followed")
        for pid in logins(farm, "h1"):
            os.kill(pid, signal.SIGKILL)
        farm["h1"].write("/dev/shm/go", "")
        assert tail.wait() == 0
        assert tail.out() == remote("logs", "1", "--stdout").stdout
    finally:
        tail.close()
        farm["h1"].sh("rm -f /dev/shm/go")
