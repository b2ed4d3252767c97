"""Whose processes does root believe when they say that they are of an agent?"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.agent.conftest import OWNER, Bed, lease
from tests.agent.support import agent, alive, tagged, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system("root")

ANOTHER = 65534  # an account that owns nothing
BECOME = f"import ctypes, os, signal; os.setresuid({ANOTHER}, {ANOTHER}, {ANOTHER}); "
WAIT = "print(flush=True); signal.pause()"
PLAIN = BECOME + "ctypes.CDLL(None).prctl(4, 1); " + WAIT  # PR_SET_DUMPABLE: as after an exec
HIDDEN = BECOME + WAIT  # root owns its folder in /proc
WAYS = pytest.mark.parametrize("script", [PLAIN, HIDDEN], ids=["plain", "not to be dumped"])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of root's, of which an incarnation could be called; it has a file."""
    folder = tmp_path / secrets.token_hex(8)
    folder.mkdir(mode=0o700)
    (folder / "precious").write_text("root's")
    return folder


@contextmanager
def liar(place: Path, script: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have another account's process that says it is of an agent in some folder."""
    tags = {
        "CORRAL_OWNER": OWNER,
        "CORRAL_INCARNATION": place.name,
        "CORRAL_FOLDER": str(place),
    }
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env=tags,
        start_new_session=True,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


@WAYS
def test_what_another_account_says_ends_and_removes_nothing(
    bed: Bed, place: Path, script: str
) -> None:
    """Bug: `corral reap` by root removed whatever folder a process of anybody named."""
    words = {"owner": OWNER, "workdir": str(bed.base), "kill": True}
    with liar(place, script) as process:
        assert bed.command("sweep", words | {"incarnation": None}) == {"killed": 0}
        agents = bed.command("reap", words)["agents"]
        assert isinstance(agents, list)
        assert [found["incarnation"] for found in agents] == [bed.incarnation]
        assert process.poll() is None
    assert [path.name for path in place.iterdir()] == ["precious"]


@WAYS
def test_an_agent_is_not_taken_for_alive_because_another_account_says_where_it_is(
    bed: Bed, tmp_path: Path, script: str
) -> None:
    """Bug: a process that named a folder with a lock of its own kept strays from being swept."""
    bed.start()
    bed.give(lease(1, "sleep", "1000"))
    wait_until(lambda: bed.master.running())
    strays = tagged(bed.incarnation)
    bed.kill_both()
    theirs = tmp_path / bed.incarnation
    theirs.mkdir()
    lock = agent.take_lock(os.fsencode(theirs))
    with liar(theirs, script) as process:
        asked = {"owner": OWNER, "incarnation": bed.incarnation}
        assert bed.command("sweep", asked) == {"killed": len(strays)}
        assert process.poll() is None
    os.close(lock)
    bed.start(listen=False, collect=True)
    bed.see_end()


def test_a_task_that_changed_its_account_is_swept(bed: Bed) -> None:
    bed.start()
    become = (
        f"import os; os.setsid(); os.setuid({ANOTHER}); os.execv('/bin/sleep', ['sleep', '1000'])"
    )
    bed.give(lease(1, line=f'{sys.executable} -c "{become}" & exec sleep 1000'))
    wait_until(lambda: [pid for pid in tagged(bed.incarnation) if os.stat(f"/proc/{pid}").st_uid])
    strays = tagged(bed.incarnation)
    bed.kill_both()
    assert bed.command("sweep", {"owner": OWNER}) == {"killed": len(strays)}
    assert not any(alive(pid) for pid in strays)
    bed.start(listen=False, collect=True)
    bed.see_end()


def test_a_program_with_the_setuid_bit_is_its_callers() -> None:
    """Such a one has root's rights, and the environment that anybody gave it."""
    with subprocess.Popen(
        [sys.executable, "-c", f"import os, signal; os.setresuid({ANOTHER}, 0, 0); {WAIT}"],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            assert not agent.is_own(process.pid)
            assert agent.is_own(os.getpid())
        finally:
            process.kill()
