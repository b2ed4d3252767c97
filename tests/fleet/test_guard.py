"""The shell that kills logins when their master dies must not keep that master from ending."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from corral.fleet import guard
from corral.fleet.guard import Guard

if TYPE_CHECKING:
    import pytest


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


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 100)
    except BlockingIOError:
        return b""
