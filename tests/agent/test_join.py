"""Does an agent end with a login that nobody has spoken over, and only then?"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.agent.conftest import Bed, lease
from tests.agent.support import AGENT, alive, wait_until
from tests.support.hosts.processes import is_stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GONE_S = 5.0  # a quarter of a second, if it were not for the others on this machine
WORDS = {
    "what is said when the answer was read": bytes(8),
    "a reply's first byte": (1).to_bytes(4, "big") + (1).to_bytes(4, "big") + b"H",
}


class Joined:
    """The program that a login runs, with our end of the login."""

    def __init__(self, bed: Bed, **changes: object) -> None:
        self.bed = bed
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(10)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(AGENT), "join"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
            )
        self.said = self.ours.makefile("rb", buffering=0)
        self.ours.sendall(json.dumps(bed.config(**changes)).encode() + b"\n")

    def wait_up(self) -> dict[str, object]:
        """Read its answer, and see the link's first word come."""
        answer: dict[str, object] = json.loads(self.said.readline())
        assert "error" not in answer, answer
        assert select.select([self.ours], [], [], 10)[0]
        self.bed.find_peers()
        return answer

    def hang_up(self) -> None:
        self.said.close()
        self.ours.close()

    def end(self) -> None:
        self.hang_up()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def login(bed: Bed) -> Iterator[Callable[..., Joined]]:
    """Log in to an agent's host."""
    made: list[Joined] = []

    def make(**changes: object) -> Joined:
        made.append(Joined(bed, **changes))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_an_agent_ends_with_a_login_that_nobody_spoke_over(
    bed: Bed, login: Callable[[], Joined]
) -> None:
    one = login()
    one.wait_up()
    one.hang_up()
    bed.see_end(GONE_S)
    assert one.process.wait(5) == 0


def test_an_agent_ends_with_a_login_that_ended_before_it_stood(
    bed: Bed, login: Callable[[], Joined]
) -> None:
    one = login()
    wait_until((bed.folder / "lock").exists)
    one.hang_up()
    one.process.wait(GONE_S)
    bed.see_end(GONE_S)


def test_the_login_lasts_until_its_agent_is_gone(bed: Bed, login: Callable[[], Joined]) -> None:
    one = login()
    one.wait_up()
    os.kill(bed.link, signal.SIGSTOP)
    wait_until(lambda: is_stopped(bed.link))
    one.hang_up()
    wait_until(lambda: is_told_to_end(bed.link), GONE_S)
    assert one.process.poll() is None
    os.kill(bed.link, signal.SIGCONT)
    one.process.wait(GONE_S)
    assert not bed.living()


def is_told_to_end(pid: int) -> bool:
    """Say whether a SIGTERM waits for a process that is stopped."""
    status = Path(f"/proc/{pid}/status").read_text()
    pending = status.partition("ShdPnd:")[2].split()[0]
    return bool(int(pending, 16) & 1 << signal.SIGTERM - 1)


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_an_agent_that_heard_its_master_lives_on(
    word: bytes, bed: Bed, login: Callable[[], Joined]
) -> None:
    one = login()
    one.wait_up()
    one.ours.sendall(word)
    one.hang_up()
    assert one.process.wait(GONE_S) == 0
    see_it_work(bed)


def test_an_agent_lives_on_when_a_second_login_ends_without_a_word(
    bed: Bed, login: Callable[..., Joined]
) -> None:
    bed.start(listen=False)
    one = login(attach=True)
    assert one.wait_up()["lives"]
    one.hang_up()
    assert one.process.wait(GONE_S) == 0
    see_it_work(bed)


def test_an_agent_lives_on_when_another_login_takes_over_before_a_word(
    bed: Bed, login: Callable[..., Joined]
) -> None:
    one = login()
    one.wait_up()
    other = login(attach=True)
    assert other.wait_up()["lives"]
    assert one.process.wait(GONE_S) == -signal.SIGTERM
    other.hang_up()
    assert other.process.wait(GONE_S) == 0
    see_it_work(bed)


def test_a_second_life_that_nobody_spoke_with_leaves_its_results(
    bed: Bed, login: Callable[..., Joined]
) -> None:
    bed.start()
    bed.master.answer_reports = False
    bed.run(lease(1, "true"))
    bed.kill_both()
    bed.master.close()
    one = login(attach=True)
    assert one.wait_up()["collects"]
    one.hang_up()
    wait_until(lambda: not bed.living(), GONE_S)
    assert "1-1-1-1" in (bed.folder / "spool" / "journal").read_text()
    bed.keeps_folder = True


def see_it_work(bed: Bed) -> None:
    """See the agent that was found first live and do what it is told."""
    assert alive(bed.link)
    assert alive(bed.supervisor)
    bed.master.listen()
    assert bed.run(lease(1, "true"))[0].exit == 0
    bed.stop()
