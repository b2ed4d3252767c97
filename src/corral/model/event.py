"""An event: something that was decided; append-only, one row per decision."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from corral.model.base import Frozen

EventKind = Literal[
    "submitted", "fresh", "opened", "done", "lost", "late", "rejected", "twin", "parked",
    "quarantined", "paused", "unpaused", "halted", "resumed", "cancelled", "retried", "rerun",
    "refused", "agent", "master",
]  # fmt: skip


class Event(Frozen, frozen=True, kw_only=True):
    """A decision, with whom it was about and why."""

    id: int
    at: datetime
    kind: EventKind
    run: str  # name; "" = about none
    host: str  # name; "" = about none
    tickets: tuple[str, ...]
    text: str
