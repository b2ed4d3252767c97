"""Virtual time: what happens next, in an order that follows from the seed alone."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

Call = Callable[..., object]


class Loop:
    """A clock that jumps from event to event."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._queue: list[tuple[float, int, Call, tuple[Any, ...]]] = []
        self._count = 0

    def after(self, seconds: float, call: Call, *args: Any) -> None:
        """Have something happen so much later; what is due together happens in order."""
        self._count += 1
        heapq.heappush(self._queue, (self.now + max(0.0, seconds), self._count, call, args))

    def run(self, until: float, finished: Callable[[], bool]) -> bool:
        """Let things happen until ``finished()``; False if the time is over before."""
        while not finished():
            if not self._queue or self._queue[0][0] > until:
                self.now = max(self.now, until)
                return False
            at, _, call, args = heapq.heappop(self._queue)
            self.now = max(self.now, at)
            call(*args)
        return True

    def spend(self, seconds: float) -> None:
        """Take time in the middle of something: the rest of the world goes on meanwhile."""
        self.run(self.now + seconds, lambda: False)


class Timeline:
    """The time of one machine or process: it can be frozen, and end.

    What is due while it is frozen happens when it thaws: at once if its clock ran on, else as much
    later as it was frozen.
    """

    def __init__(self, parent: Loop | Timeline) -> None:
        self._parent = parent
        self._behind = 0.0  # how much later than its parent's it is here
        self._frozen_at: float | None = None
        self._clock_runs = False
        self._waiting: list[tuple[float, Call, tuple[Any, ...]]] = []
        self.ended = False
        self.asleep_s = 0.0  # frozen so far, whatever its clock did
        self.freezes = 0

    @property
    def now(self) -> float:
        if self._frozen_at is not None and not self._clock_runs:
            return self._frozen_at - self._behind
        return self._parent.now - self._behind

    @property
    def frozen(self) -> bool:
        return self._frozen_at is not None

    @property
    def awake_s(self) -> float:
        """Give the seconds so far in which it was not frozen."""
        at = self._parent.now if self._frozen_at is None else self._frozen_at
        return at - self.asleep_s

    def after(self, seconds: float, call: Call, *args: Any) -> None:
        """Have something happen so much later by this clock."""
        self._parent.after(seconds, self._fire, self.now + max(0.0, seconds), call, args)

    def freeze(self, *, clock_runs: bool) -> None:
        """Let nothing happen until `thaw`."""
        if self._frozen_at is None:
            self._frozen_at = self._parent.now
            self._clock_runs = clock_runs
            self.freezes += 1

    def thaw(self) -> None:
        """Go on."""
        if self._frozen_at is None:
            return
        slept = self._parent.now - self._frozen_at
        self.asleep_s += slept
        if not self._clock_runs:
            self._behind += slept
        self._frozen_at = None
        waiting, self._waiting = self._waiting, []
        for due, call, args in waiting:
            self._parent.after(due - self.now, self._fire, due, call, args)

    def end(self) -> None:
        """Let nothing happen any more."""
        self.ended = True
        self._waiting.clear()

    def _fire(self, due: float, call: Call, args: tuple[Any, ...]) -> None:
        if self.ended:
            return
        if self._frozen_at is not None:
            self._waiting.append((due, call, args))
        elif due - self.now > 1e-9:  # it was frozen meanwhile
            self._parent.after(due - self.now, self._fire, due, call, args)
        else:
            call(*args)


class Clock:
    """The clocks that an agent is given."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.wall_offset = 1e9  # the wall clock may jump, the other one never does

    def now(self) -> float:
        return self._timeline.now

    def wall(self) -> float:
        return self._timeline.now + self.wall_offset
