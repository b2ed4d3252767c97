"""The way between the master and a host: logins, what they carry, and how both fail."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from corral.fleet.base import LaunchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from random import Random

    from corral.fleet.base import AgentStart, Ending
    from tests.simulation.events import Loop
    from tests.simulation.host import Agent, Host
    from tests.simulation.master import Life

    Answer = Callable[[int, str, bytes], None]
    Arrive = Callable[[], None]

UP, DOWN = "up", "down"  # from the host to the master, and back
KEEPALIVE_S = (15.0, 20.0)  # ssh gives a silent connection up
CONNECT_S = 10.0  # ... and a login that nobody answers
REFUSED_S = 0.1
WORDS_FIRST = 0.5  # of the logins are said to be there after their agent has spoken …
WORDS_S = (0.01, 0.3)  # … so much


class Way:
    """The network between the master's machine and a host."""

    def __init__(self, loop: Loop, chance: Random) -> None:
        self._loop = loop
        self._chance = chance
        self._blocked = {UP: 0, DOWN: 0}  # by how many faults at once
        self._queued: dict[str, list[Arrive]] = {UP: [], DOWN: []}
        self._channels: list[Channel] = []
        self._breaks = 0  # how often anything was blocked
        self.delay_s = 0.0
        self.flaky = 0.0  # probability that something befalls a message
        self.refuses = False  # logins are turned away at once
        self.note: Callable[[str], None] = lambda kind: None

    @property
    def is_open(self) -> bool:
        return not any(self._blocked.values())

    @property
    def is_calm(self) -> bool:
        """Say whether nothing keeps words from getting through in time."""
        return self.is_open and not self.refuses and self.delay_s < 0.5

    def join(self, channel: Channel) -> None:
        self._channels = [one for one in self._channels if one.master_end or one.host_end]
        self._channels.append(channel)

    def block(self, *directions: str) -> None:
        """Lose what is sent: TCP repeats it until the way is open again, or one end gives up."""
        for direction in directions:
            self._blocked[direction] += 1
        self._breaks += 1
        for channel in self._channels:
            if channel.keepalive:
                channel.life.timeline.after(self.patience_s(), self._give_up, channel, self._breaks)

    def patience_s(self) -> float:
        """Say how long ssh waits for a sign of life."""
        return self._chance.uniform(*KEEPALIVE_S)

    def unblock(self, *directions: str) -> None:
        for direction in directions:
            self._blocked[direction] -= 1
            if not self._blocked[direction]:
                waiting, self._queued[direction] = self._queued[direction], []
                for arrive in waiting:
                    self.carry(direction, arrive)
        if self.is_open:
            for channel in self._channels:
                channel.notice()

    def leave(self, life: Life) -> None:
        """A master is dead: its ends of its connections close."""
        for channel in self._channels:
            if channel.life is life:
                channel.leave()

    def cut(self) -> None:
        """Break every connection, so that both ends know."""
        for channel in self._channels:
            channel.break_host()
            channel.break_master()

    def carry(self, direction: str, arrive: Arrive) -> None:
        """Bring something over, after as long as it takes."""
        if self._blocked[direction]:
            self._queued[direction].append(arrive)
            return
        delay_s = self._chance.uniform(0.0005, 0.005) + self.delay_s
        if self.flaky and self._chance.random() < self.flaky:
            self.note("message late")
            delay_s += self._chance.choice((0.1, 1.0, 15.0, 30.0, 3600.0)) * self._chance.random()
        self._loop.after(delay_s, self._deliver, direction, arrive)

    def loses(self) -> bool:
        """Say whether a relay loses this message and its connection, loudly."""
        return bool(self.flaky) and self._chance.random() < self.flaky

    def repeats(self) -> bool:
        """Say whether a request comes twice."""
        return bool(self.flaky) and self._chance.random() < self.flaky / 2

    def _deliver(self, direction: str, arrive: Arrive) -> None:
        if self._blocked[direction]:
            self._queued[direction].append(arrive)
        else:
            arrive()

    def _give_up(self, channel: Channel, breaks: int) -> None:
        if breaks == self._breaks and not self.is_open:
            channel.break_master()


class Channel:
    """One login's connection, with the relay at its far end; see `corral.fleet.base.Channel`."""

    def __init__(self, life: Life, agent: Agent, *, collects: bool, keepalive: bool) -> None:
        self.folder = agent.path
        self.collects = collects
        self.keepalive = keepalive
        self.life = life
        self.master_end = True
        self.host_end = True
        self._agent = agent
        self._way = agent.host.way
        self._over = asyncio.Event()
        self._is_mute = False  # the master's end is never told that the other is gone
        self._open: dict[int, Callable[[], None]] = {}  # requests under way -> tell that it is cut
        self._count = 0
        self._way.join(self)

    async def ended(self) -> Ending:
        await self._over.wait()
        if not self._agent.dead:
            return "broken"
        return "left" if self._agent.has_folder else "gone"

    async def close(self) -> None:
        self.leave()

    def leave(self) -> None:
        """The master's end is closed; the far end hears of it if it can."""
        if self.master_end:
            self.master_end = False
            self._way.carry(DOWN, self.break_host)

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        answer: Answer,
        cut: Callable[[], None],
    ) -> Callable[[], None]:
        """Carry a request of the agent's to the master; gives how to give it up."""
        self._count += 1
        number = self._count
        self._open[number] = cut

        def reply(status: int, signed: str, words: bytes) -> None:
            if self.master_end and not self._lost(number, "reply"):
                self._way.carry(DOWN, lambda: self._answer(number, answer, status, signed, words))

        def arrive() -> None:
            if not self.master_end:
                self._way.carry(DOWN, self.break_host)
                return
            self.life.timeline.after(0, self.life.serve, method, path, dict(headers), body, reply)

        if not self._lost(number, "request"):
            self._way.carry(UP, arrive)
            if self._way.repeats():
                self._way.note("request repeated")
                self._way.carry(UP, arrive)
        return lambda: self._forget(number)

    def _lost(self, number: int, what: str) -> bool:
        if not self._way.loses():
            return False
        self._way.note(f"{what} lost")
        self._agent.host.timeline.after(0.001, self._cut, number)
        return True

    def _answer(self, number: int, answer: Answer, status: int, signed: str, words: bytes) -> None:
        if self.host_end and self._open.pop(number, None) is not None:
            self._agent.host.timeline.after(0, answer, status, signed, words)

    def _cut(self, number: int) -> None:
        cut = self._open.pop(number, None)
        if cut is not None:
            cut()

    def _forget(self, number: int) -> None:
        self._open.pop(number, None)

    def break_host(self) -> None:
        """The relay is gone: the agent's connections end."""
        if not self.host_end:
            return
        self.host_end = False
        for number in list(self._open):
            self._agent.host.timeline.after(0, self._cut, number)
        self._way.carry(UP, self.break_master)

    def vanish(self) -> None:
        """The host lost its power: nobody there is left to say that the connection is over.

        Somebody must look: ssh, or the master if silence counts.
        """
        self.host_end = False
        self._open.clear()
        if self.keepalive or not self.life.simulation.plan.silence_counts:
            patience_s = self._way.patience_s()
            self.life.timeline.after(patience_s, self.break_master)
        else:
            self._is_mute = True

    def break_master(self) -> None:
        """The master learns that the connection is no more."""
        self.master_end = False
        self.life.timeline.after(0, self.life.loop.call_soon, self._over.set)

    def notice(self) -> None:
        """The way is open again: an end that lost its peer learns of it."""
        if self.host_end and not self.master_end:
            self.break_host()
        elif self.master_end and not self.host_end and not self._is_mute:
            self.break_master()


class SimLauncher:
    """See `corral.fleet.base.Launcher`: logins to one virtual host."""

    def __init__(self, host: Host, life: Life, chance: Random, words: Random) -> None:
        self._host = host
        self._life = life
        self._chance = chance
        self._words = words
        self._failures = 0  # logins that came to nothing since one found a living agent
        self._failed_s: float | None = None  # when the last did, if it was one, by seconds awake

    async def start(self, what: AgentStart, *, committed: Callable[[], None]) -> Channel:
        with self._counted():
            await self._login()
            committed()
            agent = self._host.begin(what)
            return await self._arrive(agent, collects=False)

    async def attach(self, what: AgentStart) -> Channel | None:
        with self._counted():
            return await self._attach(what)

    async def _attach(self, what: AgentStart) -> Channel | None:
        await self._login()
        agent = self._host.find(what.incarnation)
        if agent is None:
            await self._answered()
            return None
        if not agent.dead:
            return await self._arrive(agent, collects=False)
        if self._host.manner.local and agent.collecting:
            agent.remove()  # its second life came to nothing
            return None
        self._host.begin(msgspec.structs.replace(what, collect=True))
        return await self._arrive(agent, collects=True)

    async def ask(self, verb: str, words: Mapping[str, Any]) -> dict[str, Any]:
        assert verb == "strike", f"no master asks {verb} while it serves"
        await self._login()
        agent = self._host.find(words["incarnation"])
        if agent is not None:
            self._life.simulation.watch.struck(agent)
            agent.kill_both()
            self._host.kill_tagged(agent.incarnation)
        await self._answered()
        return {"unclean": []}

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Have the watch see how long it takes from one that came to nothing to the next."""
        failed_s, self._failed_s = self._failed_s, None
        if failed_s is not None:
            pause_s = self._life.timeline.awake_s - failed_s
            self._life.simulation.watch.paused(self._host, self._failures, pause_s)
        try:
            yield
        except LaunchError:
            self._failures += 1
            self._failed_s = self._life.timeline.awake_s
            raise

    async def _login(self) -> None:
        """Be let in.

        Raises:
            LaunchError: The host cannot be reached, or does not let anybody in.
        """
        name, way = self._host.name, self._host.way
        if way.refuses:
            await asyncio.sleep(REFUSED_S)
            raise LaunchError(f"{name}: the login was refused", retryable=True, soon=True)
        if self._host.manner.local:
            return
        seconds = self._chance.uniform(0.05, 0.5) + 2 * way.delay_s
        patience = CONNECT_S
        await asyncio.sleep(min(seconds, patience))
        if not way.is_open or seconds > patience:
            await asyncio.sleep(max(0.0, patience - seconds))
            raise LaunchError(f"{name}: no answer within {patience:g} s", retryable=True)

    async def _answered(self) -> None:
        """Wait for the word of the agent's program; what it did is done even if it does not come."""
        await asyncio.sleep(self._chance.uniform(0.02, 0.1))
        if not self._host.way.is_open:
            raise LaunchError(f"{self._host.name}: the login broke", retryable=True)

    async def _arrive(self, agent: Agent, *, collects: bool) -> Channel:
        await self._answered()
        if agent.dead:
            raise LaunchError(
                f"{self._host.name}: the agent ended as it was started", retryable=True
            )
        channel = Channel(
            self._life, agent, collects=collects, keepalive=self._host.manner.keepalive
        )
        agent.meet(channel)
        await self._read_on(channel)
        self._failures = 0
        return channel

    async def _read_on(self, channel: Channel) -> None:
        """A busy master is told that the agent is there when it has heard its first words already."""
        if self._words.random() >= WORDS_FIRST:
            return
        try:
            await asyncio.sleep(self._words.uniform(*WORDS_S))
        except BaseException:  # it is not wanted any more
            channel.leave()
            raise
