"""What is an agent told whose exchange is held, broken or repeated?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from corral.clock import SystemClock
from corral.ids import Incarnation
from corral.master.exchanges import Exchanges
from corral.protocol import Exchange, Reply
from tests.support.world import World, facts

if TYPE_CHECKING:
    from corral.protocol import Facts, Refusal


class Idle:
    """An agent that has nothing and wants one task; its exchanges, and who answers them."""

    def __init__(self) -> None:
        self.world = World()
        self.agent = self.world.agent("a1", host="one")
        self.exchanges = Exchanges(self.world.store, SystemClock())
        self.exchanges.parts = self.world.parts
        self._sent = 0

    def send(self, number: int, said: Facts | None = None) -> asyncio.Task[Reply | Refusal]:
        request = Exchange(incarnation="a1", number=self.agent.number + number, want=1, facts=said)
        self._sent += 1
        return asyncio.create_task(self.exchanges.answer(request), name=f"exchange {self._sent}")

    async def hold(self, number: int) -> asyncio.Task[Reply | Refusal]:
        """Send an exchange, and see it held."""
        sent = self.send(number)
        await self.looked_at()
        assert not sent.done()
        return sent

    async def looked_at(self) -> None:
        """Wait until the one held, if any, waits for a reason to look again."""
        held = self.exchanges._held
        async with asyncio.timeout(10):
            while not any(one.event._waiters for one in held.values()):  # noqa: ASYNC110  (nothing tells)
                await asyncio.sleep(0)


async def told(sent: asyncio.Task[Reply | Refusal]) -> Reply:
    async with asyncio.timeout(10):
        reply = await sent
    assert isinstance(reply, Reply)
    return reply


def test_an_agent_that_says_its_facts_hears_at_once_for_how_long_it_may_be_held() -> None:
    """Bug: it was held for 20 s from its first word on, waited for 12, and said it all again."""

    async def story() -> float:
        idle = Idle()
        first = await told(idle.send(1, facts()))
        await idle.hold(2)
        return first.hold_s

    assert asyncio.run(story()) == 20.0


def test_who_repeats_a_request_is_told_again_what_the_lost_reply_said() -> None:
    """Bug: the reply with the stop in it was lost; the agent was made to end 15 s later."""

    async def story() -> tuple[Reply, Reply]:
        idle = Idle()
        await told(idle.send(1, facts()))
        held = await idle.hold(2)
        idle.exchanges.stop(Incarnation("a1"), "drain")
        lost = await told(held)
        return lost, await told(idle.send(2))

    lost, repeated = asyncio.run(story())
    assert lost.stop == repeated.stop == "drain"


def test_what_a_broken_connection_was_held_for_goes_to_the_one_after_it() -> None:
    """Bug: both were looked at, and the dead one's reply might have the task in it."""

    async def story() -> tuple[Reply, Reply]:
        idle = Idle()
        await told(idle.send(1, facts()))
        dead = await idle.hold(2)
        alive = await idle.hold(2)
        idle.world.submit("true {1..1}")
        idle.exchanges.wake()
        return await told(dead), await told(alive)

    dead, alive = asyncio.run(story())
    assert dead.leases == ()
    assert [lease.task for lease in alive.leases] == [1]
