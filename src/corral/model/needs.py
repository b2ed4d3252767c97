"""What a task needs of the host it runs on, and what a host has to give.

What is counted goes by one name each: ``cpus``, ``memory`` (bytes), and what ``hosts.toml`` says
of the host's own, such as ``gpu``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from corral.model.base import Frozen

CPUS = "cpus"
MEMORY = "memory"
WORDS = (CPUS, MEMORY, "tags", "platform")
MOST = 1_000_000  # of a counted resource; more is a slip of the keyboard
PLATFORM = re.compile(r"[a-z0-9]+-[A-Za-z0-9_]+")  # "linux-x86_64", as an agent says it

Amounts = Mapping[str, int]
"""So much of each thing that is counted."""

_TAKEN = frozenset(
    (
        *("run", "task", "task_count", "attempt", "ticket", "host", "slot", "result", "progress"),
        *("owner", "incarnation", "folder", "setup", "ssh"),
    )
)  # CORRAL_GPU says which gpus a task has; these variables say something else


class Needs(Frozen, frozen=True, kw_only=True):
    """What one task takes while it runs; by default a slot of any host."""

    cpus: int = 1
    memory: int = 0  # bytes
    tags: tuple[str, ...] = ()  # that the host must have, all of them
    platform: str = ""  # "linux-x86_64"; "" = any
    resources: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def amounts(self) -> Amounts:
        """Give all that is counted."""
        memory = {MEMORY: self.memory} if self.memory else {}
        return {CPUS: self.cpus, **memory, **self.resources}


class Offer(Frozen, frozen=True, kw_only=True):
    """What a host has; None = nobody has looked yet."""

    cpus: int | None = None  # its slots, if they are given, else its usable cores
    memory: int | None = None  # bytes
    platform: str | None = None
    tags: tuple[str, ...] = ()
    resources: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def amounts(self) -> Amounts:
        """Give all that is counted, as far as it is known."""
        known = {CPUS: self.cpus, MEMORY: self.memory, **self.resources}
        return {name: amount for name, amount in known.items() if amount is not None}


def is_resource(name: str) -> bool:
    """Say whether a resource of a host may have this name."""
    return (
        re.fullmatch(r"[a-z][a-z0-9_]*", name) is not None
        and name not in WORDS
        and name not in _TAKEN
        and not name.startswith("param_")
    )
