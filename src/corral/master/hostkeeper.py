"""Keeps one host served: an agent while there is work, a new one when it died, none at the end.

For this machine: the agent dials a socket in its own folder, and the master listens there itself.
So a restarted master is found in the same place, and adopts the agent with all that runs on it.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from corral import ids
from corral.engine import upkeep
from corral.fleet.base import AgentStart, LaunchError
from corral.ids import Incarnation
from corral.model.host import LOCAL
from corral.protocol import agent_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from corral.clock import Clock
    from corral.fleet.local import LocalLauncher
    from corral.master.exchanges import Exchanges
    from corral.store.base import Store

    Listen = Callable[[Path], Awaitable[Callable[[], None]]]
    """Listens on a unix socket; what it gives stops listening there."""

log = logging.getLogger(__name__)

LOOK_S = 0.5  # between looks at an agent's lock: how fast a death is seen without any message
COLLECT_S = 60.0  # a dead agent's spool is handed in within this time, or left where it is
DRAIN_S = 15.0  # an idle agent ends in milliseconds; then it is told "now"
TRIES = 3  # agents that die at once before the host is given up
YOUNG_S = 5.0  # an agent that lived shorter than this died at once


class LocalKeeper:
    """Serves the cores of this machine."""

    def __init__(
        self,
        *,
        store: Store,
        exchanges: Exchanges,
        launcher: LocalLauncher,
        listen: Listen,
        clock: Clock,
        owner: str,
        secret: bytes,
        slots: int,
    ) -> None:
        self._store = store
        self._exchanges = exchanges
        self._launcher = launcher
        self._listen = listen
        self._clock = clock
        self._owner = owner
        self._secret = secret
        self._slots = slots
        self._agent: _Agent | None = None
        self._news = asyncio.Event()
        self._starting = asyncio.Lock()  # an agent that is on its way is ended only when it stands
        self._wanted = False
        self._failures = 0

    def want(self, *, slots: int | None = None) -> None:
        """There is work: have an agent, with at least so many slots."""
        self._wanted = True
        if slots is not None and slots > self._slots:
            self._slots = slots
            if self._agent is not None:
                self._store.write(upkeep.set_slots, self._agent.incarnation, slots)
        self._news.set()

    def wake(self) -> None:
        """Something about an agent has changed."""
        self._news.set()

    async def adopt(self) -> None:
        """Take over the agents of a master that died: those that live go on, the others report."""
        with self._store.reader() as reader:
            rows = reader.rows("agents_live")
        for incarnation, _, host, _, _, folder, _ in rows:
            if host != LOCAL:
                continue
            agent = _Agent(Incarnation(incarnation), Path(folder), self._clock.ticks())
            if self._agent is None and self._launcher.alive(agent.folder):
                log.info("agent adopted incarnation=%s", incarnation)
                agent.unlisten = await self._listen(agent.folder)
                self._agent = agent
            else:
                await self._bury(agent)

    async def keep(self) -> None:
        """Serve the host for as long as the master lives."""
        while True:
            if self._agent is None and self._wanted and self._failures < TRIES:
                async with self._starting:
                    await self._start()
            elif self._agent is not None and not self._lives(self._agent):
                await self._bury(self._agent)
                continue
            await self._pause()

    async def stop(self, *, now: bool = False) -> None:
        """End the agent and see it gone, with its folder."""
        self._wanted = False
        async with self._starting:
            agent = self._agent
        if agent is None:
            return
        self._exchanges.stop(agent.incarnation, "now" if now else "drain")
        deadline = self._clock.ticks() + DRAIN_S
        while self._launcher.alive(agent.folder):
            if self._clock.ticks() > deadline:
                self._exchanges.stop(agent.incarnation, "now")
                deadline += DRAIN_S
            await self._clock.sleep(0.005)
        await self._bury(agent)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(LOOK_S):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    async def _start(self) -> None:
        if not self._wanted:
            return
        incarnation = ids.new_incarnation()
        try:
            folder = self._launcher.folder(self._owner, incarnation)
            agent = _Agent(incarnation, folder, self._clock.ticks())
            agent.unlisten = await self._listen(folder)
            await asyncio.wrap_future(
                self._store.write(
                    upkeep.start_agent,
                    incarnation,
                    LOCAL,
                    folder=str(folder),
                    slots=self._slots,
                    now=self._clock.now(),
                )
            )
            self._agent = agent
            await self._launcher.start(self._what(agent, collect=False))
        except LaunchError as error:
            self._failures = TRIES
            self._agent = None
            await asyncio.wrap_future(self._store.write(upkeep.fail_host, LOCAL, reason=str(error)))
            log.warning("agent did not start reason=%s", error)

    def _what(self, agent: _Agent, *, collect: bool) -> AgentStart:
        return AgentStart(
            owner=self._owner,
            incarnation=agent.incarnation,
            key=agent_key(self._secret, agent.incarnation).hex(),
            host=LOCAL,
            slots=self._slots,
            folder=str(agent.folder),
            collect=collect,
        )

    def _lives(self, agent: _Agent) -> bool:
        """Say whether the agent is there; one that is just starting is."""
        if self._launcher.alive(agent.folder):
            agent.seen = True
            return True
        return not agent.seen and agent.folder.exists() and self._young(agent)

    def _young(self, agent: _Agent) -> bool:
        return self._clock.ticks() - agent.born < YOUNG_S

    async def _bury(self, agent: _Agent) -> None:
        """See to what a dead agent left: stray processes, its spool, its tickets, its folder."""
        said_bye = not agent.folder.exists()
        if not said_bye:
            await self._launcher.sweep(self._owner, agent.incarnation)
            await self._collect(agent)
        if agent is self._agent:
            self._agent = None
            self._failures = self._failures + 1 if self._young(agent) and not said_bye else 0
        if agent.unlisten is not None:
            agent.unlisten()
        self._exchanges.forget(agent.incarnation)
        await asyncio.wrap_future(
            self._store.write(
                upkeep.end_agent,
                agent.incarnation,
                why="" if said_bye else "its agent died",
                host_state="gone",
                now=self._clock.now(),
            )
        )
        self._launcher.forget(agent.folder)

    async def _collect(self, agent: _Agent) -> None:
        """Have a dead agent hand in the results that it had finished."""
        if not (agent.folder / "spool").is_dir():
            return
        await asyncio.wrap_future(self._store.write(upkeep.revive_agent, agent.incarnation))
        if agent.unlisten is None:
            agent.unlisten = await self._listen(agent.folder)
        try:
            await self._launcher.start(self._what(agent, collect=True))
        except LaunchError as error:
            log.warning("spool not collected folder=%s reason=%s", agent.folder, error)
            return
        deadline = self._clock.ticks() + COLLECT_S
        while self._launcher.alive(agent.folder) and self._clock.ticks() < deadline:
            await self._clock.sleep(0.01)


class _Agent:
    """An agent that is kept."""

    def __init__(self, incarnation: Incarnation, folder: Path, born: float) -> None:
        self.incarnation = incarnation
        self.folder = folder
        self.born = born
        self.seen = False  # its lock was held once
        self.unlisten: Callable[[], None] | None = None
