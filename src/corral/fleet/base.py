"""What it takes to get an agent onto a machine, whichever way."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003
from typing import Protocol

from corral.errors import CorralError
from corral.model.base import Frozen


class LaunchError(CorralError):
    """An agent could not be started; ``retryable`` says whether trying again may help."""

    exit_code = 3
    retryable = False


class AgentStart(Frozen, frozen=True, kw_only=True):
    """What an agent is told on its stdin; the key travels nowhere else."""

    owner: str
    incarnation: str
    key: str  # hex
    host: str
    slots: int
    folder: str | None  # absolute, made already; None: it chooses
    workdir: str | None = None
    collect: bool = False  # a second life of a dead incarnation: hand in its spool and go
    linger_s: float = 60.0  # so long it waits for a master when nothing runs


class Launcher(Protocol):
    """Starts agents on one machine and knows whether they live."""

    async def start(self, what: AgentStart) -> None:
        """Start an agent; returns when its processes stand on their own.

        Raises:
            LaunchError: It cannot be started, with the reason and the way out.
        """
        ...

    def alive(self, folder: Path) -> bool:
        """Say whether a process of the agent in ``folder`` lives."""
        ...

    async def sweep(self, owner: str, incarnation: str | None) -> int:
        """Kill what dead agents of this owner left behind; gives how many processes."""
        ...
