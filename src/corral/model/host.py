"""A host: a computer that does work; it has slots, a platform and a state.

new --> joining --> probation --> up <--> suspect --> lost
                                  |  quarantined; draining --> gone; unreachable(reason)
"""

from __future__ import annotations

from typing import Literal

from corral.ids import HostId, Incarnation
from corral.model.base import Frozen

HostState = Literal[
    "new", "joining", "probation", "up", "suspect", "lost",
    "quarantined", "draining", "gone", "unreachable",
]  # fmt: skip
LOCAL = "localhost"  # the name of this machine's cores


class Host(Frozen, frozen=True, kw_only=True):
    """A host as it stands."""

    id: HostId
    name: str
    state: HostState
    reason: str  # why it is unreachable or quarantined; else ""
    slots: int
    cores: int
    running: int  # attempts on it now
    done: int  # results accepted from it
    failed: int  # failures blamed on it


class AgentRow(Frozen, frozen=True, kw_only=True):
    """One start of an agent, as the store knows it."""

    incarnation: Incarnation
    host: HostId
    host_name: str
    request: int  # the newest exchange number that counted
    state: Literal["starting", "up", "ended"]
    folder: str
    slots: int
