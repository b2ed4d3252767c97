"""The shell that kills logins when their master dies must not keep that master from ending."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from corral.fleet import guard, ssh
from corral.fleet.bootstrap import Payload
from corral.fleet.guard import Guard
from corral.fleet.relay import Login

if TYPE_CHECKING:
    import pytest

UNKNOWN = 2**22  # above any pid


def test_a_guard_that_was_stopped_is_killed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CLOSE_S", 0.1)
    one = Guard()
    one.stand_by()
    process = one._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    one.close()
    assert process.returncode == -signal.SIGKILL


def test_a_closed_guard_is_told_nothing_through_what_its_pipe_has_become() -> None:
    """Bug: a login that ended later was written into whichever file had the number by then."""
    one = Guard()
    one.stand_by()
    number = one._pipe
    one.close()
    reader, writer = os.pipe()
    os.dup2(writer, number)
    try:
        one.ended(1)
        os.set_blocking(reader, False)
        assert _read(reader) == b""
    finally:
        for descriptor in {reader, writer, number}:
            os.close(descriptor)


def test_what_it_does_not_know_it_forgets_without_harm() -> None:
    """Bug: each group that ended twice doubled its list, and one that had ended was killed at last."""
    one = Guard()
    one.stand_by()
    asleep = [subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(2)]
    ended, left = (process.pid for process in asleep)
    try:
        one.begun(ended)
        one.begun(left)
        for _ in range(3):
            one.ended(UNKNOWN)
        one.ended(ended)
        one.close()
        assert asleep[1].wait(5) == -signal.SIGKILL
        assert asleep[0].poll() is None
    finally:
        for process in asleep:
            process.kill()
            process.wait()


def test_a_login_that_is_ended_twice_is_told_of_once() -> None:
    class Told(Guard):
        def __init__(self) -> None:
            super().__init__()
            self.words: list[tuple[str, int]] = []

        def begun(self, group: int) -> None:
            self.words.append(("begun", group))

        def ended(self, group: int) -> None:
            self.words.append(("ended", group))

    async def story() -> list[tuple[str, int]]:
        guard = Told()
        login = Login(Payload({}), connect=None, committed=lambda: None)
        with contextlib.closing(guard):
            process = await ssh._Process.start(["true"], login, "h1", guard)
            for _ in range(2):
                await process.end()
        return guard.words

    (begun, group), *rest = asyncio.run(story())
    assert begun == "begun"
    assert rest == [("ended", group)]


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 100)
    except BlockingIOError:
        return b""
