"""Asks many hosts the same thing at once, without any master: what they are like, what is left there."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from corral import ids, openfiles
from corral.fleet.base import Doors, LaunchError, understood
from corral.fleet.gate import Gates
from corral.fleet.guard import Guard
from corral.fleet.local import LocalLauncher
from corral.fleet.ssh import SshLauncher
from corral.model.base import Frozen
from corral.protocol import Facts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from corral.fleet.base import Launcher
    from corral.model.host import HostSpec

log = logging.getLogger(__name__)

T = TypeVar("T")


class Checked(Frozen, frozen=True, kw_only=True):
    """What a host says to ``check``."""

    facts: Facts


class Answered(NamedTuple, Generic[T]):
    """What a host said, or why it could not be asked."""

    spec: HostSpec
    said: T | None
    error: LaunchError | None
    at: float  # wall clock of this machine when the answer came, seconds since 1970
    took_s: float  # the login included


def survey(
    specs: Sequence[HostSpec],
    verb: str,
    words: Mapping[str, Any],
    kind: type[T],
) -> list[Answered[T]]:
    """Have the agent's program do ``verb`` on every host; gives the answers in the hosts' order."""
    return asyncio.run(_survey(specs, verb, words, kind))


async def _survey(
    specs: Sequence[HostSpec],
    verb: str,
    words: Mapping[str, Any],
    kind: type[T],
) -> list[Answered[T]]:
    openfiles.raise_limit()  # each login takes two
    with closing(Guard()) as guard:
        ways = _Ways(Gates(), guard)
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(_ask(spec, verb, words, ways, kind), name=f"ask {spec.name}")
                for spec in specs
            ]
    return [task.result() for task in asked]


async def _ask(
    spec: HostSpec,
    verb: str,
    words: Mapping[str, Any],
    ways: _Ways,
    kind: type[T],
) -> Answered[T]:
    began = time.monotonic()
    said, error = None, None
    own = {
        "incarnation": ids.new_incarnation(),
        "workdir": spec.workdir,
        "env": spec.env,
        "setup": spec.setup,
    }
    try:
        answer = await ways.to(spec).ask(verb, own | dict(words))
        said = understood(answer, kind, host=spec.name)
    except LaunchError as problem:
        error = problem
    except Exception as problem:  # whatever it is, the other hosts' answers count
        log.exception("host not asked host=%s", spec.name)
        error = LaunchError(f"{spec.name}: {problem!r}", hint=f"corral hosts check -w {spec.name}")
    return Answered(
        spec=spec, said=said, error=error, at=time.time(), took_s=time.monotonic() - began
    )


class _Ways(NamedTuple):
    """What all logins share."""

    gates: Gates
    guard: Guard

    def to(self, spec: HostSpec) -> Launcher:
        if spec.is_here:
            return LocalLauncher(doors=_NO_DOORS)
        return SshLauncher(spec, doors=_NO_DOORS, gates=self.gates, guard=self.guard)


def _no_way(*_: object) -> Any:
    raise AssertionError("who only asks opens no channel")


_NO_DOORS = Doors(listen=_no_way, connect=_no_way)
