"""On which terms does an agent hold its leases: how often it speaks, when its silence counts?"""

from __future__ import annotations

from typing import Literal

from corral.model.base import Frozen

BEAT_S = 2.0  # between exchanges of an agent that holds tickets
IDLE_BEATS = 10  # an idle one speaks so much less often
CROWD = 200  # agents; more of them beat slower, so that the master's work stays level
MISSED = 3  # beats in a row, and the host is suspect
LOST_AFTER_S = 60.0  # of silence, and its work goes elsewhere

Standing = Literal["well", "suspect", "lost"]


class Terms(Frozen, frozen=True, kw_only=True):
    """What all agents of a master are told."""

    beat_s: float = BEAT_S
    lost_after_s: float = LOST_AFTER_S
    silence_counts: bool = True
    agents: int = 1

    def beat(self, *, holds_tickets: bool) -> float:
        """Say in how many seconds an agent's next exchange is due."""
        base = self.beat_s * (1 if holds_tickets else IDLE_BEATS)
        return base * max(1.0, self.agents / CROWD)

    def standing(self, *, silent_s: float, hold_s: float) -> Standing:
        """Judge an agent's silence, counted from its last word; it was told to speak in ``hold_s``."""
        if not self.silence_counts:
            return "well"
        if silent_s >= max(self.lost_after_s, MISSED * hold_s):
            return "lost"
        return "suspect" if silent_s >= MISSED * hold_s else "well"


class Silence:
    """Counts how long nothing is heard of an agent, in the master's own ticks.

    A counter, not a time: while the master stands still (suspended, stopped, busy) nobody's silence
    grows by more than two beats.
    """

    def __init__(self, hold_s: float) -> None:
        self.hold_s = hold_s
        self._silent_s = 0.0
        self._in_hand = 0  # its requests that are not answered yet
        self._counted_s = 0.0  # of the tick to come: until it was answered

    def asked(self) -> None:
        """A request of its has come."""
        self._in_hand += 1

    def heard(self) -> None:
        """Something else of it has come: a piece of a file."""
        self._silent_s = 0.0

    def answered(self, hold_s: float, *, after_s: float, newest: bool) -> None:
        """It was told to speak again ``hold_s`` after that request, which came ``after_s`` ago.

        One that is not its ``newest`` was overtaken: it goes by what the newer one is told.
        """
        self._in_hand -= 1
        if not newest:
            return
        self.hold_s = hold_s
        self._silent_s = self._counted_s = min(after_s, hold_s)

    @property
    def silent_s(self) -> float:
        """The silence in seconds, as if from the last word on."""
        return 0.0 if self._in_hand else self._silent_s

    def tick(self, passed_s: float) -> float:
        """Count a tick of the master; gives the silence."""
        if not self._in_hand:
            self._silent_s += min(passed_s, 2 * self.hold_s - self._counted_s)
            self._counted_s = 0.0
        return self.silent_s
