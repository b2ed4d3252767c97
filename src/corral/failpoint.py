"""Where may a test kill this process? Nowhere, unless its environment names a point.

A point stands before and after each call whose effect outlives the process: a commit, an answer, a
rename, an fsync, a start, a reaping. ``with around("store.commit"):`` makes the two points
``store.commit.before`` and ``store.commit.after``; a call that fails does not come to the second.

``CORRAL_FAILPOINT=NAME[:N]`` kills the process with SIGKILL as it passes that point for the N-th
time (the first, if not said). Before, it makes the file that ``CORRAL_FAILPOINT_MARK`` names; where
that is, nobody is killed any more. ``agent.py``, which imports nothing of corral and must stay
small, obeys the same two; there any call is a point, named by who calls what: ``seal.rename.after``.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager


class Deadly:
    """Points of which one kills, once."""

    def __init__(self, asked: str, mark: str) -> None:
        self._name, _, often = asked.partition(":")
        self._ahead = int(often or 1)  # passings until it kills
        self._mark = Path(mark)

    @contextmanager
    def __call__(self, name: str) -> Generator[None]:
        self._pass(f"{name}.before")
        yield
        self._pass(f"{name}.after")

    def _pass(self, name: str) -> None:
        self._ahead -= name == self._name
        if name == self._name and self._ahead == 0 and not self._mark.exists():
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Harmless(nullcontext[None]):
    """What stands for points where none kills; it costs 0.3 microseconds."""

    def __call__(self, name: str) -> Harmless:
        del name
        return self


around: Callable[[str], AbstractContextManager[None]] = Harmless()
if "CORRAL_FAILPOINT" in os.environ:
    around = Deadly(os.environ["CORRAL_FAILPOINT"], os.environ["CORRAL_FAILPOINT_MARK"])
