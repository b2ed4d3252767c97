"""Virtual time: what happens next, in an order that follows from the seed alone."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Loop:
    """A clock that jumps from event to event."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall_offset = 1e9  # the wall clock may jump, this one never does
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def after(self, seconds: float, call: Callable[..., None], *args: Any) -> None:
        """Have something happen so much later; what is due together happens in order."""
        self._count += 1
        heapq.heappush(self._queue, (self.now + max(0.0, seconds), self._count, call, args))

    def run(self, until: float, finished: Callable[[], bool]) -> bool:
        """Let things happen until ``finished()``; False if the time is over before."""
        while self._queue and not finished():
            at, _, call, args = heapq.heappop(self._queue)
            if at > until:
                return False
            self.now = max(self.now, at)
            call(*args)
        return finished()


class Clock:
    """The clock that an agent is given."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._loop.now

    def wall(self) -> float:
        return self._loop.now + self._loop.wall_offset
