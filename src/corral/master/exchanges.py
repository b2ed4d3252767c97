"""The agents' counter: takes their exchanges, holds those that nothing can be said to yet.

A held exchange is answered the moment there is work, something to kill, or a newer one of the
same agent; at the latest when the next is due.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from corral.agent import FIRST_HOLD_S
from corral.engine import exchange
from corral.engine.parts import Parts
from corral.ids import Incarnation, RunId
from corral.master.tails import Tails
from corral.protocol import Exchange, Refusal, Reply
from corral.scheduler.lease import MISSED, Silence

if TYPE_CHECKING:
    from corral.clock import Clock
    from corral.scheduler.lease import Standing
    from corral.store.base import Store

Stop = Literal["", "drain", "now"]


OFFER_AGAIN_S = 2.0  # a host that could not help may be able to by now
KEEPS_S = 0.25  # between looks whether what is kept for hosts that are being reached is free
LEAVING_S = 10.0  # three times that after its goodbye an agent is gone, whatever its disk does
NEXT_MASTER_S = 0.2  # an agent of a master that ends looks for the next one, not at its idle beat


class Exchanges:
    """Answers agents, one newest exchange per agent."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.parts = Parts()
        self.tails = Tails(clock)
        self._store = store
        self._clock = clock
        self._held: dict[Incarnation, Held] = {}
        self._told: dict[Incarnation, Told] = {}
        self._stop: dict[Incarnation, Stop] = {}
        self._environments: dict[RunId, bytes] = {}
        self._here: set[Incarnation] = set()  # agents of this machine
        self._byes: set[Incarnation] = set()
        self._silences: dict[Incarnation, Silence] = {}
        self._offered: frozenset[str] = frozenset()  # late or stuck tickets that idle hosts saw
        self._offered_s = 0.0  # since then
        self._closed = False

    def expect(self, incarnation: Incarnation, *, lends: bool) -> None:
        """An agent will speak, or its silence counts; ``lends``: it is of this machine.

        It may have spoken before its login has said that it is there.
        """
        held = self._held.get(incarnation)
        self._silences[incarnation] = self._new_silence() if held is None else held.silence
        if lends:
            self._here.add(incarnation)

    def hear(self, incarnation: Incarnation) -> None:
        """An agent has sent something other than an exchange: it is not silent."""
        if incarnation in self._silences:
            self._silences[incarnation].heard()

    def agree(self, **terms: float) -> None:
        """Change the terms on which agents hold their leases; see `corral.scheduler.lease.Terms`."""
        self.parts.terms = msgspec.structs.replace(self.parts.terms, **terms)

    def tick(self, passed_s: float) -> list[tuple[Incarnation, Standing]]:
        """Count a tick of the master; gives the agents whose silence says something."""
        self._offer_late(passed_s)
        said: list[tuple[Incarnation, Standing]] = []
        for incarnation, silence in self._silences.items():
            silent_s = silence.tick(passed_s)
            standing = self.parts.terms.standing(silent_s=silent_s, hold_s=silence.hold_s)
            if standing != "well":
                said.append((incarnation, standing))
        return said

    def _offer_late(self, passed_s: float) -> None:
        """Have idle hosts look at what is late or stuck, when that has changed and now and then."""
        parts = self.parts
        late = frozenset(parts.late() + parts.stuck()) if self._held else frozenset[str]()
        self._offered_s += passed_s
        if late - self._offered or (late and self._offered_s > OFFER_AGAIN_S):
            self._offered, self._offered_s = late, 0.0
            self.wake()

    def said_bye(self, incarnation: Incarnation) -> bool:
        """Say whether the agent's last word was a goodbye."""
        return incarnation in self._byes

    def is_silent(self, incarnation: Incarnation) -> bool:
        """Say whether an agent that was told to end says nothing: it would speak at the busy beat."""
        silence = self._silences.get(incarnation)
        beat_s = self.parts.terms.beat(holds_tickets=True)
        return silence is None or silence.silent_s >= MISSED * beat_s

    def lend_environment(self, run: RunId, environment: bytes) -> None:
        """Have a run's tasks on this machine start from the environment of who asked for them.

        It is kept in memory only, and never sent to another machine: it may hold secrets.
        """
        self._environments[run] = environment

    def stop(self, incarnation: Incarnation, how: Stop) -> None:
        """Tell an agent to end."""
        self._stop[incarnation] = how
        self.parts.retiring.add(incarnation)
        self.wake()

    def close(self) -> None:
        """Answer whoever is held with nothing: the master ends."""
        self._closed = True
        self.tails.close()
        self.wake()

    def nudge(self, incarnation: Incarnation) -> None:
        """Look again whether something can be said to one agent."""
        held = self._held.get(incarnation)
        if held is not None:
            held.event.set()

    def wake(self) -> None:
        """Look again whether something can be said to those who are held.

        The first of them is answered before the others are looked at: a lone task waits for no
        more than its own commit.
        """
        if self._held:
            first, *others = self._held.values()
            first.followed_by(others)
            first.event.set()

    async def answer(self, request: Exchange) -> Reply | Refusal:
        """Answer an exchange, at once or when there is something to say."""
        incarnation = Incarnation(request.incarnation)
        began = self._clock.ticks()
        older = self._held.get(incarnation)
        if older is not None and older.number <= request.number:
            older.event.set()
        silence = self._silences.get(incarnation)
        if silence is None:
            silence = self._new_silence() if older is None else older.silence
        silence.asked()
        held = Held(request.number, silence, self._known(request))
        hold_s = self.parts.terms.beat(holds_tickets=True)
        if older is None or older.number <= request.number:
            self._held[incarnation] = held
        try:
            reply: Reply | Refusal | None = await self._write(
                exchange.exchange, request, self.parts, self._clock.now()
            )
            while isinstance(reply, Reply):
                hold_s = reply.hold_s
                reply = self._dress(reply, incarnation)
                if self._closed:
                    return msgspec.structs.replace(reply, hold_s=NEXT_MASTER_S)
                waited = self._clock.ticks() - began
                if request.bye:
                    self._byes.add(incarnation)
                    hold_s = LEAVING_S
                if (
                    request.bye
                    or self._held.get(incarnation) is not held
                    or self._says_something(reply, held, incarnation)
                    or request.facts is not None  # it does not know yet how long it may be held
                    or not await self._look_again(
                        held, incarnation, min(reply.hold_s, held.known.hold_s) - waited
                    )
                ):
                    return reply
                if self._closed:
                    return Reply(number=request.number, hold_s=NEXT_MASTER_S)
                if self._held.get(incarnation) is not held:
                    return Reply(number=request.number)
                reply = await self._write(
                    exchange.grant, incarnation, request.number, self.parts, self._clock.now()
                )
                held.wake_followers()
            return reply or Reply(number=request.number)
        finally:
            held.wake_followers()
            newest = self._held.get(incarnation) is held
            silence.answered(hold_s, after_s=self._clock.ticks() - began, newest=newest)
            if newest:
                del self._held[incarnation]

    def _new_silence(self) -> Silence:
        return Silence(self.parts.terms.beat(holds_tickets=True))

    async def _look_again(self, held: Held, incarnation: Incarnation, seconds: float) -> bool:
        """Wait for a reason to look again at one that is held; False when its time is over."""
        if incarnation in self.parts.keeping and seconds > KEEPS_S:
            await held.wait(KEEPS_S)
            return True
        return await held.wait(seconds)

    def forget(self, incarnation: Incarnation) -> None:
        """Drop what is kept of an agent that ended."""
        self._told.pop(incarnation, None)
        self._stop.pop(incarnation, None)
        self._silences.pop(incarnation, None)
        self.parts.forget(incarnation)
        self.parts.retiring.discard(incarnation)
        self._here.discard(incarnation)
        self._byes.discard(incarnation)

    async def _write(self, *call: object) -> Reply | Refusal | None:
        function, *args = call
        try:
            answer: Reply | Refusal | None = await asyncio.wrap_future(
                self._store.write(function, *args)  # type: ignore[arg-type]
            )
        except Exception:
            self.parts.doubt()
            raise
        return answer

    def _known(self, request: Exchange) -> Told:
        """Give what an agent knows; who repeats a request has not heard the reply to it."""
        told = self._told.get(Incarnation(request.incarnation))
        while told is not None and told.number >= request.number:
            told = told.before
        return told or NOTHING_TOLD

    def _says_something(self, reply: Reply, held: Held, incarnation: Incarnation) -> bool:
        """Say whether the reply cannot wait; what was told before can.

        A kill takes its time, and the agent hears of it again in every reply.
        """
        told = frozenset(reply.kill + reply.drop) | self.tails.words(incarnation)
        told |= {f"back:{name}" for name in reply.back}  # it may have to be killed after that
        if reply.stop:
            told |= {f"stop:{reply.stop}"}
        news = told - held.told
        held.told = told
        before = held.known._replace(before=None)
        self._told[incarnation] = Told(held.number, told, reply.hold_s, before)
        return bool(news or reply.leases or reply.answered or reply.upload)

    def _dress(self, reply: Reply, incarnation: Incarnation) -> Reply:
        """Add what is not in the database: who is to stop, what is followed, environments lent."""
        parts = reply.parts
        if incarnation in self._here:
            parts = {
                key: msgspec.structs.replace(part, env=lent)
                if (lent := self._environments.get(RunId(int(key.partition("-")[0])))) is not None
                else part
                for key, part in reply.parts.items()
            }
        stop = self._stop.get(incarnation, "")
        follow = self.tails.wanted(incarnation)
        if stop == reply.stop and parts == reply.parts and not follow:
            return reply
        return msgspec.structs.replace(reply, parts=parts, stop=stop, follow=follow)


class Told(NamedTuple):
    """What an agent was told last that it need not hear twice."""

    number: int  # of the exchange it was the reply to
    words: frozenset[str]
    hold_s: float  # the next one may be held for so long: it waits little longer for a reply
    before: Told | None  # what it was told before that


NOTHING_TOLD = Told(0, frozenset(), FIRST_HOLD_S, None)


class Held:
    """One exchange that waits."""

    def __init__(self, number: int, silence: Silence, known: Told) -> None:
        self.number = number
        self.silence = silence
        self.known = known  # to its agent
        self.told = known.words  # with what was found since it is held
        self.event = asyncio.Event()
        self._followers: list[Held] = []

    def followed_by(self, others: list[Held]) -> None:
        """Have others woken once this one has been looked at."""
        self._followers = others

    def wake_followers(self) -> None:
        """This one has been looked at."""
        for other in self._followers:
            other.event.set()
        self._followers = []

    async def wait(self, seconds: float) -> bool:
        """Wait to be woken; False when the time is over."""
        if seconds <= 0:
            return False
        try:
            async with asyncio.timeout(seconds):
                await self.event.wait()
        except TimeoutError:
            return False
        self.event.clear()
        return True
