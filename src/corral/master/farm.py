"""All the hosts of a master: who keeps which, and whose silence counts.

A host gets a keeper when a run that may use it is served, and keeps it until the master ends. Should
masters that died have left two agents on a host, the younger has a keeper, too, that sees it end.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing
from typing import TYPE_CHECKING

from corral import openfiles
from corral.engine import queries, upkeep
from corral.errors import StoreError
from corral.fleet.gate import Gates
from corral.fleet.guard import Guard
from corral.fleet.local import LocalLauncher
from corral.fleet.ssh import SshLauncher
from corral.ids import HostId, Incarnation
from corral.master.hostkeeper import HostKeeper

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from corral.clock import Clock
    from corral.fleet.base import Doors, Launcher
    from corral.master.exchanges import Exchanges
    from corral.model.host import HostSpec
    from corral.store.base import Store
    from corral.store.folder import StateFolder

log = logging.getLogger(__name__)

TICK_S = 0.5  # between looks at who is silent: a quarter of a beat
PROBE_AFTER_S = 30.0  # a quarantined host may try one task after this, then after twice as long …
PROBE_LAST_S = 3600.0  # … up to this


class Farm:
    """Keeps the hosts."""

    def __init__(
        self, folder: StateFolder, store: Store, *, exchanges: Exchanges, doors: Doors, clock: Clock
    ) -> None:
        self._folder = folder
        self._store = store
        self._exchanges = exchanges
        self._doors = doors
        self._clock = clock
        self._gates = Gates()
        self._guard = Guard()
        self._keepers: dict[str, HostKeeper] = {}
        self._surplus: list[HostKeeper] = []  # of agents on hosts that have another
        self._group: asyncio.TaskGroup | None = None
        self._spoken: dict[Incarnation, str] = {}  # what its silence was last said to mean
        self._probes: dict[HostId, Probe] = {}
        self._news = True  # some host's state may have changed

    def adopt(self) -> None:
        """Take over the agents of a master that ended: those that live go on, the others report."""
        with self._store.reader() as reader:
            agents = reader.rows("agents_live")
            specs = {host.name: host.spec for host in queries.known_hosts(reader)}
        for incarnation, _, host, _, _, folder, _ in agents:
            log.info("agent adopted host=%s incarnation=%s", host, incarnation)
            keeper = self._keeper(specs[host])
            if keeper.has_agent:
                keeper = self._new_keeper(specs[host])
                self._surplus.append(keeper)
            keeper.adopt(Incarnation(incarnation), folder)
        for keeper in self._surplus:
            keeper.retire()

    def wake(self) -> None:
        """Look again at who is quarantined."""
        self._news = True

    async def want(self, specs: Iterable[HostSpec]) -> None:
        """Have agents on these hosts."""
        keepers = [self._keeper(spec) for spec in specs]
        away = [keeper.spec.name for keeper in keepers if not keeper.is_reached]
        if away:
            await asyncio.wrap_future(self._store.write(upkeep.expect_hosts, away))
        for keeper in keepers:
            keeper.want()

    def reaches(self, specs: Sequence[HostSpec]) -> bool:
        """Say whether all these hosts are there already, reached in just this way."""
        keepers = [self._keepers.get(spec.name) for spec in specs]
        return all(
            keeper is not None and keeper.spec == spec and keeper.is_reached
            for keeper, spec in zip(keepers, specs, strict=True)
        )

    def refused(self, names: Iterable[str]) -> bool:
        """Say whether all these hosts are such as only a person can mend."""
        keepers = [self._keepers.get(name) for name in names]
        return all(keeper is not None and keeper.refused for keeper in keepers)

    async def keep(self) -> None:
        """Serve the hosts for as long as the master lives."""
        with closing(self._guard):
            await self._keep_all()

    async def _keep_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for keeper in self._all():
                    self._begin(keeper)
                await self._watch()
            finally:
                self._group = None  # who is wanted now comes too late

    def release(self) -> None:
        """Have all agents end; whoever is wanted again gets another."""
        for keeper in self._all():
            keeper.release()

    async def stop(self, *, now: bool = False) -> None:
        """End all agents, and see them gone as far as they can be reached."""
        async with asyncio.TaskGroup() as group:
            for keeper in self._all():
                group.create_task(keeper.stop(now=now), name=f"stop {keeper.spec.name}")

    def staying(self) -> list[str]:
        """Name the hosts that have an agent, as far as is known."""
        return [keeper.spec.name for keeper in self._all() if keeper.has_agent]

    def give_up(self) -> None:
        """Wait hardly any longer for agents that are to end."""
        for keeper in self._all():
            keeper.give_up()

    def _all(self) -> list[HostKeeper]:
        return [*self._keepers.values(), *self._surplus]

    def _keeper(self, spec: HostSpec) -> HostKeeper:
        found = self._keepers.get(spec.name)
        if found is not None and found.spec == spec:
            return found
        if found is not None:
            found.respecify(spec, self._launcher(spec))
            return found
        keeper = self._keepers[spec.name] = self._new_keeper(spec)
        self._exchanges.agree(agents=len(self._keepers))
        if self._group is not None:
            self._begin(keeper)
        return keeper

    def _new_keeper(self, spec: HostSpec) -> HostKeeper:
        return HostKeeper(
            spec,
            store=self._store,
            exchanges=self._exchanges,
            launcher=self._launcher(spec),
            clock=self._clock,
            owner=self._folder.owner,
            secret=self._folder.secret,
        )

    def _launcher(self, spec: HostSpec) -> Launcher:
        if spec.is_here:
            return LocalLauncher(doors=self._doors)
        openfiles.raise_limit()  # each login takes two
        return SshLauncher(spec, doors=self._doors, gates=self._gates, guard=self._guard)

    def _begin(self, keeper: HostKeeper) -> None:
        assert self._group is not None
        self._group.create_task(keeper.keep(), name=f"keep {keeper.spec.name}")

    # ---------------------------------------------------------------- silence, and second chances

    async def _watch(self) -> None:
        before = self._clock.ticks()
        while True:
            await self._clock.sleep(TICK_S)
            now = self._clock.ticks()
            try:
                await self._judge_silence(now - before)
                self._give_second_chances(now - before)
            except StoreError as error:  # the disk is full, say: it is said again by the next tick
                log.warning("silence not recorded reason=%s", error)
            before = now

    async def _judge_silence(self, passed_s: float) -> None:
        standings = dict(self._exchanges.tick(passed_s))
        for incarnation, standing in standings.items():
            if self._spoken.get(incarnation) == standing:
                continue
            log.info("agent silent incarnation=%s standing=%s", incarnation, standing)
            if standing == "suspect":
                why = "nothing is heard of it"
                await asyncio.wrap_future(
                    self._store.write(upkeep.suspect_agent, incarnation, why=why)
                )
            else:
                await asyncio.wrap_future(
                    self._store.write(
                        upkeep.lose_agent,
                        incarnation,
                        why="nothing was heard of its host for too long",
                        now=self._clock.now(),
                    )
                )
            for keeper in self._all():
                keeper.mistrust(incarnation)
        self._spoken = {incarnation: str(standing) for incarnation, standing in standings.items()}

    def _give_second_chances(self, passed_s: float) -> None:
        """Let quarantined hosts show with a task, ever more rarely, that they work again."""
        if not self._probes and not self._news:
            return
        self._news = False
        with self._store.reader() as reader:
            quarantined = {HostId(row[0]) for row in reader.rows("hosts_quarantined")}
        for host in quarantined:
            probe = self._probes.setdefault(host, Probe())
            if probe.due(passed_s):
                self._store.write(upkeep.probe_host, host)
                self._spoken.clear()  # it may be silent: that did not show in quarantine


class Probe:
    """When a quarantined host is tried next."""

    def __init__(self) -> None:
        self._after_s = PROBE_AFTER_S
        self._waited_s = 0.0

    def due(self, passed_s: float) -> bool:
        """Count the time in quarantine; say whether it has been long enough."""
        self._waited_s += passed_s
        if self._waited_s < self._after_s:
            return False
        self._waited_s = 0.0
        self._after_s = min(PROBE_LAST_S, 2 * self._after_s)
        return True
