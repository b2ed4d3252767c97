"""Agents of this machine: found again by whoever comes after the master that started them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from corral import ids
from corral.fleet.base import AgentStart, Doors
from corral.fleet.local import LocalLauncher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


async def listen(_: Path) -> Callable[[], None]:
    return lambda: None


def nobody(*_: object) -> Any:
    raise AssertionError("no connection is carried on this machine")


def launcher() -> LocalLauncher:
    return LocalLauncher(doors=Doors(listen=listen, connect=nobody))


@pytest.fixture
def what() -> Iterator[AgentStart]:
    """An agent to start; afterwards nothing of it is left."""
    start = AgentStart(
        owner=ids.new_owner(), incarnation=ids.new_incarnation(), key="00" * 32, host="localhost"
    )
    yield start
    words = {"owner": start.owner, "kill": True}
    asyncio.run(launcher().ask("reap", words))
    assert asyncio.run(launcher().ask("reap", words))["agents"] == []


def test_an_agent_is_found_though_nobody_wrote_down_where_it_is(what: AgentStart) -> None:
    started: list[bool] = []
    first = asyncio.run(launcher().start(what, committed=lambda: started.append(True)))
    assert started == [True]
    again = asyncio.run(launcher().attach(what))
    assert again is not None
    assert (again.folder, again.collects) == (first.folder, False)


def test_an_agent_that_was_never_there_is_not_found(what: AgentStart) -> None:
    other = msgspec.structs.replace(what, incarnation=ids.new_incarnation())
    assert asyncio.run(launcher().attach(other)) is None


def test_the_end_of_an_agent_is_seen_at_once(what: AgentStart) -> None:
    async def story() -> bool:
        channel = await launcher().start(what, committed=lambda: None)
        async with asyncio.timeout(15), asyncio.TaskGroup() as group:
            ended = group.create_task(channel.ended())
            await launcher().ask("reap", {"owner": what.owner, "kill": True})
            return await ended

    assert asyncio.run(story()) is False  # the agent is gone; no connection broke
