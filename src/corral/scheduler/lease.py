"""How often does an agent speak?"""

from __future__ import annotations

BEAT_S = 2.0  # between exchanges of an agent that holds tickets
IDLE_BEAT_S = 20.0
CROWD = 200  # agents; more of them beat slower, so that the master's work stays level


def beat(*, holds_tickets: bool, agents: int) -> float:
    """Say in how many seconds an agent's next exchange is due."""
    base = BEAT_S if holds_tickets else IDLE_BEAT_S
    return base * max(1.0, agents / CROWD)
