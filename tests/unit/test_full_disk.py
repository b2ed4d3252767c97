"""What does a master do while nothing can be written? It tries again, and forgets nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest

from corral.clock import SystemClock
from corral.ids import Incarnation
from corral.master import hostkeeper, judges
from corral.master.exchanges import Exchanges
from corral.master.hostkeeper import HostKeeper
from corral.master.judges import Judges
from corral.model.host import HostSpec
from corral.store.blobs import Blobs
from tests.support.wait import until
from tests.support.world import World, ended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from pathlib import Path

    from corral.fleet.base import Channel, Launcher


@contextmanager
def read_only(world: World) -> Iterator[None]:
    """Have every commit fail for a while."""
    world.store._connection.execute("pragma query_only = 1")
    try:
        yield
    finally:
        world.store._connection.execute("pragma query_only = 0")


@asynccontextmanager
async def going_on(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work, name="work")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


class Nothing:
    """A launcher to a host on which nothing is left."""

    def __init__(self) -> None:
        self.asked = 0

    async def attach(self, what: object) -> Channel | None:
        del what
        self.asked += 1
        return None


def test_verdicts_that_cannot_be_stored_are_found_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The master ended with a traceback."""
    monkeypatch.setattr(judges, "AGAIN_S", 0.001)
    world = World()
    world.submit("true 1", checks=("lines=0",))
    agent = world.agent()
    (ticket,) = agent.take()
    agent.say(ended(ticket))

    async def story() -> None:
        clock = SystemClock()
        some = Judges(world.store, world.parts, Blobs(tmp_path), clock)
        async with going_on(some.work()) as work:
            with read_only(world):
                await until(lambda: "verdicts not recorded" in caplog.text or work.done())
            await until(lambda: world.run().state == "done" or work.done())

    asyncio.run(story())
    assert world.run().state == "done"


def test_an_agent_whose_end_cannot_be_stored_is_looked_after_until_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody knew of it any more, and its tasks stayed with it for as long as that master lived."""
    monkeypatch.setattr(hostkeeper, "BACK_OFF_S", (0.001,))
    world = World()
    world.submit("true 1")
    world.agent("a1").take()

    async def story() -> None:
        clock = SystemClock()
        launcher = Nothing()
        keeper = HostKeeper(
            HostSpec(name="localhost"), store=world.store, clock=clock, owner="o", secret=b"s",
            exchanges=Exchanges(world.store, clock), launcher=cast("Launcher", launcher),
        )  # fmt: skip
        keeper.adopt(Incarnation("a1"), "/a1")
        async with going_on(keeper.keep()):
            with read_only(world):
                await until(lambda: launcher.asked > 1)
            await until(lambda: not keeper.has_agent)

    asyncio.run(story())
    assert world.run().counts["waiting"] == 1
