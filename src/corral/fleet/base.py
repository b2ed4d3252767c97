"""What it takes to get an agent onto a machine, whichever way."""

from __future__ import annotations

import reprlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from corral.errors import CorralError
from corral.model.base import Frozen

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Generator, Mapping
    from pathlib import Path

T = TypeVar("T")

WORDS = 300  # letters of a host's own in a sentence of ours


class LaunchError(CorralError):
    """A host cannot be used; ``retryable`` says whether trying again by itself may help."""

    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        retryable: bool = False,
        soon: bool = False,
        nothing_left: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.nothing_left = nothing_left  # the host itself says that no agent came to be
        self.retryable = retryable
        self.soon = soon  # its server was just busy: no word to the user before several tries


class AgentStart(Frozen, frozen=True, kw_only=True):
    """What an agent is told on its stdin; the key travels nowhere else."""

    owner: str
    incarnation: str
    key: str  # hex
    host: str
    slots: int | None = None  # None: as many as it has cores
    folder: str | None = None  # absolute, made already; None: it chooses
    workdir: str | None = None
    env: dict[str, str] = msgspec.field(default_factory=dict)  # on top of what a login there has
    setup: str = ""  # shell lines whose environment the tasks get
    collect: bool = False  # a second life of a dead incarnation: hand in its spool and go
    linger_s: float = 60.0  # so long it waits for a master when nothing runs


class Joined(Frozen, frozen=True, kw_only=True):
    """What the agent's program says once an agent is there."""

    folder: str  # the agent's, on its host
    collects: bool = False  # it died; this is its second life


def brief(said: object) -> str:
    """Cut what a host says to what may stand in a sentence of ours: its first line, if that is short.

    Any further line would read as our own hint.
    """
    text = said if isinstance(said, str) else reprlib.repr(said)
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return first if len(first) <= WORDS else first[: WORDS - 1] + "…"


def refusal(said: Mapping[str, Any], *, host: str) -> LaunchError:
    """Explain that the agent's program cannot do it, by its own ``error`` and ``hint``."""
    return LaunchError(
        f"{host}: {brief(said['error'])}",
        hint=brief(said.get("hint") or "") or None,
        nothing_left=True,
    )


def understood(said: Mapping[str, Any], kind: type[T], *, host: str) -> T:
    """Read what the agent's program says on a host.

    Raises:
        LaunchError: It is no such answer.
    """
    try:
        return msgspec.convert(said, type=kind)
    except msgspec.ValidationError as error:
        raise LaunchError(
            f"{host}: its agent's answer is not understood: {brief(str(error))}",
            hint=f"corral hosts check -w {host}",
        ) from error


@contextmanager
def something_left() -> Generator[None]:
    """Let no error say that nothing is left of an agent: what it had finished may lie there."""
    try:
        yield
    except LaunchError as error:
        error.nothing_left = False
        raise


class Doors(NamedTuple):
    """How agents get to the master's listener."""

    listen: Callable[[Path], Awaitable[Callable[[], None]]]
    """Listens on ``sock`` in a folder of this machine; what it gives stops that."""
    connect: Callable[[], asyncio.Protocol]
    """Makes the master's end of one connection that is carried to it some other way."""


Ending = Literal["broken", "left", "gone"]
"""How a channel ended: the connection broke; the agent died and left its folder; nothing is left."""


class Channel(Protocol):
    """The way to a living agent."""

    folder: str  # the agent's, on its host
    collects: bool  # it died; this is its second life, to hand in what it had finished

    async def ended(self) -> Ending:
        """Wait until the way is closed, and say why it is."""
        ...

    async def close(self) -> None:
        """Close the way; the agent lives on."""
        ...


class Launcher(Protocol):
    """Gets agents onto one machine, and finds again those that are there."""

    async def start(self, what: AgentStart, *, committed: Callable[[], None]) -> Channel:
        """Start an agent; returns when its processes stand on their own.

        ``committed`` is called when it is about to exist: from then on whoever gives up must see
        to its end; before it, to cancel is enough.

        Raises:
            LaunchError: It cannot be started, with the reason and the way out.
        """
        ...

    async def attach(self, what: AgentStart) -> Channel | None:
        """Find an agent that was started before; a dead one lives again to hand in its results.

        Gives None if nothing of it is left.

        Raises:
            LaunchError: The machine cannot be reached.
        """
        ...

    async def ask(self, verb: str, words: Mapping[str, Any]) -> dict[str, Any]:
        """Have the agent's program do one thing (``check``, ``reap``) and give what it says.

        Raises:
            LaunchError: The machine cannot be reached, or the program says why it cannot.
        """
        ...
