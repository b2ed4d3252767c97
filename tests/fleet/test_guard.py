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
