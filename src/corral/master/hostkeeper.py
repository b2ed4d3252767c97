"""Keeps one host served: an agent while there is work, the way to it open, none at the end.

The same for this machine and for others; `corral.fleet` knows how each is reached. A connection
that breaks is made again to the agent that lives on; one that died hands in what it had finished,
and another is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING

import msgspec

from corral import ids
from corral.engine import upkeep
from corral.errors import StoreError
from corral.fleet.base import AgentStart, LaunchError
from corral.protocol import agent_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from corral.clock import Clock
    from corral.fleet.base import Channel, Ending, Launcher
    from corral.ids import Incarnation
    from corral.master.exchanges import Exchanges, Stop
    from corral.model.host import HostSpec, HostState
    from corral.store.base import Store

log = logging.getLogger(__name__)

DRAIN_S = 15.0  # an idle agent ends in milliseconds; then it is told "now"
KILL_S = 20.0  # ... and killed from outside when this is over: grace, a tree that will not die
START_S = 5.0  # at the end: for an agent that is just being started; it ends with its login
REACH_S = 15.0  # at the end: to reach one that lives, as ssh's ConnectTimeout and a word take …
AWAY_S = 1.0  # … on a host that could not be reached before
GIVE_UP_S = 1.0  # at the end: for an agent that nobody wants to wait for; a sound one ends in less
SOON_S = (0.1, 0.3, 0.6, 1.0, 2.0, 4.0)  # pauses while a busy server refuses; a word is said after
BACK_OFF_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)  # pauses between tries to reach a host that is away
YOUNG_S = 5.0  # an agent that lived shorter than this died at once
TRIES = 3  # agents that die at once, or never answer, before the host is given up
ENDS_WITH_LOGIN = (
    "its processes end with the login (KillUserProcesses?): it is used while the connection lasts"
)


class Kept:
    """An agent that is kept."""

    def __init__(self, incarnation: Incarnation, folder: str, born: float) -> None:
        self.incarnation = incarnation
        self.folder = folder  # "" until it is known
        self.born = born
        self.started = False  # it may exist on its host
        self.expected = False  # its silence counts
        self.cut_off: float | None = None  # when its connection broke; no login failed since


class HostKeeper:
    """Serves one host: one agent on it."""

    def __init__(
        self,
        spec: HostSpec,
        *,
        store: Store,
        exchanges: Exchanges,
        launcher: Launcher,
        clock: Clock,
        owner: str,
        secret: bytes,
    ) -> None:
        self.spec = spec
        self._store = store
        self._exchanges = exchanges
        self._launcher = launcher
        self._clock = clock
        self._owner = owner
        self._secret = secret
        self._agent: Kept | None = None  # of a master before this one, or of ours
        self._channel: Channel | None = None
        self._news = asyncio.Event()
        self._wanted = False
        self._stopping = False
        self._silent = False  # nothing is heard over the channel: make it anew
        self._away = False  # the last try found nobody; a busy server is somebody
        self.refused = False  # it cannot be used; only a new wish has it tried again
        self._failures = 0  # tries in a row that came to nothing
        self._trouble = ""  # why the last of them did
        self._replaces = False  # the next agent takes the place of one that died
        self._deaths = 0  # agents in a row that died at once
        self._ended = asyncio.Event()
        self._farewell: asyncio.Timeout | None = None  # while `stop` waits for the agent to end
        self._task: asyncio.Task[None] | None = None

    # ---------------------------------------------------------------- what may be asked of it

    @property
    def is_reached(self) -> bool:
        """Say whether the way to an agent is open."""
        return self._channel is not None

    def adopt(self, incarnation: Incarnation, folder: str) -> None:
        """Take over an agent that another master started."""
        assert self._agent is None, f"{self.spec.name} has an agent"
        agent = Kept(incarnation, folder, self._clock.ticks())
        agent.started = True
        self._agent = agent
        self._expect(agent)

    @property
    def has_agent(self) -> bool:
        """Say whether it keeps one: there is one keeper for each."""
        return self._agent is not None

    def retire(self) -> None:
        """Have the agent end when it has done what it runs: the host has another."""
        self._tell_to_end("drain")

    def release(self) -> None:
        """There is no work any more: have the agent end, until somebody wants one again."""
        self._wanted = False
        self._tell_to_end("drain")

    def respecify(self, spec: HostSpec, launcher: Launcher) -> None:
        """Reach it another way from the next login on."""
        self.spec = spec
        self._launcher = launcher

    def want(self) -> None:
        """There is work: have an agent; a host that was refused is tried again."""
        self._wanted = True
        self.refused = False
        self._news.set()

    def mistrust(self, incarnation: Incarnation) -> None:
        """Nothing is heard of an agent: the way to it may be dead without knowing."""
        kept = self._agent is not None and self._agent.incarnation == incarnation
        if kept and self._channel is not None:
            self._silent = True
            self._away = True  # until it is reached again: an end does not wait for it
            self._news.set()

    async def keep(self) -> None:
        """Serve the host until `stop`."""
        self._task = asyncio.current_task()
        try:
            while not self._is_over():
                if self.refused or not (self._wanted or self._agent):
                    await self._pause(None)
                    continue
                try:
                    await self._try()
                except StoreError as error:  # the master's disk is full, say: the same once more
                    log.warning("host not kept host=%s reason=%s", self.spec.name, error)
                    await self._pause(BACK_OFF_S[0])
                except Exception:  # not even why could be said: the other hosts go on
                    log.exception("host not kept host=%s", self.spec.name)
                    await self._pause(BACK_OFF_S[-1])
        finally:
            self._ended.set()

    async def _try(self) -> None:
        """Serve the host for one connection's life; say why if it came to none.

        Raises:
            StoreError: What was done is not on record.
        """
        try:
            await self._serve()
        except StoreError:
            raise
        except LaunchError as error:
            problem = error
        except Exception as error:  # whatever it is, the other hosts go on
            log.exception("host not kept host=%s", self.spec.name)
            problem = LaunchError(f"{self.spec.name}: {error!r}", retryable=True)
        else:
            return
        await self._failed(problem)

    async def stop(self, *, now: bool = False) -> None:
        """End the agent and see it gone, with its folder, as far as it can be reached.

        `give_up` ends the wait for it.
        """
        self._stopping = True
        self._wanted = False
        self._tell_to_end("now" if now else "drain")
        self._news.set()
        if not await self._is_seen_gone():
            self._cancel()
            await self._ended.wait()
        try:
            await self._leave()
        except StoreError as error:  # the next master finds it as it was, and asks it
            log.warning("end not recorded host=%s reason=%s", self.spec.name, error)

    def give_up(self) -> None:
        """Wait hardly any longer for an agent that is to end: it may be left."""
        if self._farewell is not None and self._farewell.when() is None:
            self._farewell.reschedule(asyncio.get_running_loop().time() + GIVE_UP_S)

    async def _is_seen_gone(self) -> bool:
        try:
            async with asyncio.timeout(None) as self._farewell:
                return await self._ends_within(self._patience()) or await self._is_made_to_end()
        except TimeoutError:
            return False
        finally:
            self._farewell = None

    async def _leave(self) -> None:
        """Write down that an agent could not be seen gone, or never came to be."""
        agent = self._agent
        if agent is not None and agent.started:
            await self._write(upkeep.leave_agent, agent.incarnation, now=self._clock.now())
        elif agent is not None:
            if self._trouble:
                await self._forget(agent, self._trouble, "unreachable")
            else:
                await self._forget(agent, "its run ended before it was reached", "gone")

    async def _is_made_to_end(self) -> bool:
        """Use force on an agent that does not end though the way to it is open; say whether it has."""
        self._tell_to_end("now")
        agent = self._agent
        if agent is None or self._channel is None:
            return False
        if not self._exchanges.is_silent(agent.incarnation) and await self._ends_within(KILL_S):
            return True
        try:
            async with asyncio.timeout(KILL_S):
                await self._launcher.ask("strike", msgspec.to_builtins(self._what(agent)))
        except (LaunchError, OSError) as error:  # OSError: or it takes too long
            log.warning("agent not struck host=%s reason=%s", self.spec.name, error)
        return await self._ends_within(REACH_S)

    def _tell_to_end(self, how: Stop) -> None:
        if self._agent is not None:
            self._exchanges.stop(self._agent.incarnation, how)

    def _patience(self) -> float:
        """Say how long an end may take: none if nothing of ours can be there."""
        if self._channel is not None:
            return DRAIN_S
        if self._agent is None or not self._agent.started:
            return 0.0
        if self._away:
            return AWAY_S
        return REACH_S if self._agent.expected else START_S

    # ---------------------------------------------------------------- one connection's life

    async def _serve(self) -> None:
        """Get to an agent, and stay with it until the way to it is closed."""
        agent = self._agent or await self._begin()
        said_bye = self._exchanges.said_bye(agent.incarnation)
        cut_off = not said_bye and self._was_cut_off(agent)
        channel = await self._reach(agent)
        if channel is None:
            if cut_off:
                await self._write(upkeep.note_host, self.spec.name, note=ENDS_WITH_LOGIN)
            await self._bury(agent, "" if said_bye else "its agent died")
            return
        self._failures = 0
        self._trouble = ""
        self._away = self._silent = False
        self._channel = channel
        ending: Ending = "broken"
        try:
            await self._write_down(agent, channel, cut_off=cut_off)
            ending = await self._stay(channel)
        finally:
            self._channel = None
            await asyncio.shield(channel.close())
        if ending == "broken":  # whatever it said last, it may not have heard the answer: look
            agent.cut_off = self._clock.ticks()
        elif ending == "gone" and self._exchanges.said_bye(agent.incarnation):
            await self._bury(agent, "")

    async def _write_down(self, agent: Kept, channel: Channel, *, cut_off: bool) -> None:
        """Have on record where an agent is, and what is odd about its host."""
        if cut_off and channel.collects:
            await self._write(upkeep.note_host, self.spec.name, note=ENDS_WITH_LOGIN)
        if channel.folder == agent.folder:
            return
        await self._write(upkeep.place_agent, agent.incarnation, channel.folder)
        if note := self.spec.passed_over(channel.folder):
            await self._write(upkeep.note_host, self.spec.name, note=note)
        agent.folder = channel.folder

    def _was_cut_off(self, agent: Kept) -> bool:
        """Say whether an agent that is dead died with its connection; a reboot would refuse logins.

        Asked before a login, which may take longer than that agent had to live. One that was quick
        may even have found it alive.
        """
        return agent.cut_off is not None and self._clock.ticks() - agent.cut_off < YOUNG_S

    async def _begin(self) -> Kept:
        """Write a new agent down before it is started, so that a new master knows to look for it."""
        agent = self._agent = Kept(ids.new_incarnation(), "", self._clock.ticks())
        if self.spec.is_here:
            self._expect(agent)
        try:
            await self._write(
                upkeep.start_agent,
                agent.incarnation,
                self.spec.name,
                folder="",
                slots=self.spec.slots or 0,
                now=self._clock.now(),
                trouble=self._trouble,
                replaces=self._replaces,
            )
        except StoreError:
            self._agent = None
            self._exchanges.forget(agent.incarnation)
            raise
        return agent

    async def _reach(self, agent: Kept) -> Channel | None:
        """Start the agent, or find it; None if nothing of it is left."""

        def committed() -> None:
            agent.started = True

        what = self._what(agent)
        if agent.started:
            channel = await self._launcher.attach(what)
        else:
            channel = await self._launcher.start(what, committed=committed)
        self._expect(agent)
        return channel

    def _expect(self, agent: Kept) -> None:
        """Count its silence from now on; before, a slow login or setup is none."""
        if not agent.expected:
            self._exchanges.expect(agent.incarnation, lends=self.spec.is_here)
        agent.expected = True

    async def _stay(self, channel: Channel) -> Ending:
        """Wait until the channel ends or is not to be trusted any more."""
        async with asyncio.TaskGroup() as group:
            ended = group.create_task(channel.ended(), name=f"channel {self.spec.name}")
            while not ended.done() and not self._silent:
                news = group.create_task(self._news.wait(), name=f"news {self.spec.name}")
                await asyncio.wait({ended, news}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
                self._news.clear()
            ended.cancel()
        return "broken" if ended.cancelled() else ended.result()

    async def _bury(self, agent: Kept, why: str) -> None:
        """Let go of an agent of which nothing is left: what it held goes elsewhere."""
        await self._forget(agent, why, "gone")
        self._replaces = bool(why)
        young = self._clock.ticks() - agent.born < YOUNG_S
        self._deaths = self._deaths + 1 if why and young else 0
        if self._deaths >= TRIES:
            self._deaths = 0
            raise LaunchError(
                f"{self.spec.name}: its agent dies as soon as it is started",
                hint="is its memory full, or does something end processes there?",
            )

    async def _forget(self, agent: Kept, why: str, state: HostState) -> None:
        """Have its end on record, then let go of it: else nobody would look after what it held."""
        await self._write(
            upkeep.end_agent,
            agent.incarnation,
            why=why,
            host_state=state,
            now=self._clock.now(),
        )
        self._agent = None
        self._exchanges.forget(agent.incarnation)

    # ---------------------------------------------------------------- failures

    async def _failed(self, error: LaunchError) -> None:
        """Say why the host cannot be used, and wait before the next try, if there is to be one."""
        log.warning("host not reached host=%s reason=%s", self.spec.name, error)
        agent = self._agent
        self._failures += 1
        if agent is not None and (error.nothing_left or not agent.started or self._is_mute(error)):
            await self._forget(agent, "it did not start", "joining")
            agent = None
        busy = error.soon and self._failures <= len(SOON_S)
        self._away = not busy
        if self._is_over():
            return
        if agent is not None:  # it lives there, as far as is known
            agent.cut_off = None
            self._expect(agent)
            await self._write(upkeep.suspect_agent, agent.incarnation, why=str(error))
        elif not busy:
            text = error.message + (f"\n{error.hint}" if error.hint else "")
            await self._write(upkeep.fail_host, self.spec.name, reason=text)
            self._trouble = text
        if agent is None and not error.retryable:
            self.refused = True
            return
        pauses = SOON_S if busy else BACK_OFF_S
        pause = pauses[min(self._failures, len(pauses)) - 1]
        await self._pause(pause * random.uniform(0.5, 1.5))  # noqa: S311  (spreads tries)

    def _is_mute(self, error: LaunchError) -> bool:
        """Say whether no try has ever brought an answer of the agent, nor will another one.

        If it came to be all the same, it ends by itself: its master never said a word.
        """
        known = self._agent is not None and self._agent.folder
        return not known and not error.retryable and self._failures >= TRIES

    def _is_over(self) -> bool:
        return self._stopping and (self._agent is None or self._away)

    async def _pause(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()

    async def _ends_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        return self._ended.is_set()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:
            self._ended.set()

    # ---------------------------------------------------------------- words

    def _what(self, agent: Kept) -> AgentStart:
        return AgentStart(
            owner=self._owner,
            incarnation=agent.incarnation,
            key=agent_key(self._secret, agent.incarnation).hex(),
            host=self.spec.name,
            slots=self.spec.slots,
            folder=agent.folder or None,
            workdir=self.spec.workdir,
            env=self.spec.env,
            setup=self.spec.setup,
        )

    async def _write(
        self, function: Callable[..., object], *args: object, **kwargs: object
    ) -> None:
        await asyncio.wrap_future(self._store.write(function, *args, **kwargs))
