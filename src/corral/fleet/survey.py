"""Asks many hosts the same thing at once, without any master: what they are like, what is left there."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from corral import ids
from corral.fleet.base import Doors, LaunchError
from corral.fleet.gate import Gates
from corral.fleet.local import LocalLauncher
from corral.fleet.ssh import SshLauncher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from corral.fleet.base import Launcher
    from corral.model.host import HostSpec


class Answered(NamedTuple):
    """What a host said, or why it could not be asked."""

    spec: HostSpec
    said: dict[str, Any] | None
    error: LaunchError | None
    at: float  # wall clock of this machine when the answer came, seconds since 1970
    took_s: float  # the login included


def survey(
    specs: Sequence[HostSpec],
    verb: str,
    words: Mapping[str, Any],
    *,
    heard: Callable[[Answered], None] | None = None,
) -> list[Answered]:
    """Have the agent's program do ``verb`` on every host; gives the answers in the hosts' order.

    ``heard`` is called with each answer as it comes.
    """
    return asyncio.run(_survey(specs, verb, words, heard))


async def _survey(
    specs: Sequence[HostSpec],
    verb: str,
    words: Mapping[str, Any],
    heard: Callable[[Answered], None] | None,
) -> list[Answered]:
    gates = Gates()
    async with asyncio.TaskGroup() as group:
        asked = [
            group.create_task(_ask(spec, verb, words, gates, heard), name=f"ask {spec.name}")
            for spec in specs
        ]
    return [task.result() for task in asked]


async def _ask(
    spec: HostSpec,
    verb: str,
    words: Mapping[str, Any],
    gates: Gates,
    heard: Callable[[Answered], None] | None,
) -> Answered:
    began = time.monotonic()
    said, error = None, None
    own = {
        "incarnation": ids.new_incarnation(),
        "workdir": spec.workdir,
        "env": spec.env,
        "setup": spec.setup,
    }
    try:
        said = await _launcher(spec, gates).ask(verb, own | dict(words))
    except LaunchError as problem:
        error = problem
    answer = Answered(
        spec=spec, said=said, error=error, at=time.time(), took_s=time.monotonic() - began
    )
    if heard is not None:
        heard(answer)
    return answer


def _launcher(spec: HostSpec, gates: Gates) -> Launcher:
    if spec.is_here:
        return LocalLauncher(doors=_NO_DOORS)
    return SshLauncher(spec, doors=_NO_DOORS, gates=gates)


def _no_way(*_: object) -> Any:
    raise AssertionError("who only asks opens no channel")


_NO_DOORS = Doors(listen=_no_way, connect=_no_way)
