"""A virtual master: the real engine and store, with the counter's holding and the keeper's looking."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from corral import protocol
from corral.engine import exchange, upkeep
from corral.engine.parts import Parts
from corral.ids import Incarnation
from corral.protocol import Exchange, Refusal, Reply
from tests.simulation.host import SECRET
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.events import Loop
    from tests.simulation.host import Host

    Answer = Callable[[int, str, bytes], None]

LOOK_S = 0.5


class Held:
    """An exchange that waits for something to be said."""

    def __init__(self, request: Exchange, answer: Callable[[Reply], None]) -> None:
        self.request = request
        self.answer = answer


class Master:
    """Serves the world's store; may crash between any two steps, and come back."""

    def __init__(self, world: World, *, loop: Loop, chance: Random, faults: float) -> None:
        self.world = world
        self.loop = loop
        self.chance = chance
        self.faults = faults  # probability of a fault of the network per message
        self.hosts: list[Host] = []
        self.up = True
        self.ending = False
        self.injected: Counter[str] = Counter()
        self._held: dict[str, Held] = {}
        self._told: dict[str, frozenset[str]] = {}
        self._incarnations = 0
        world.store.listen(self._hear)
        loop.after(0, self._look)

    # ---------------------------------------------------------------- the network

    def request(
        self,
        host: Host,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        answer: Answer,
        cut: Callable[[], None],
    ) -> None:
        """Carry a request over, or lose it; the same for its answer."""
        number = int(headers["corral-number"])
        incarnation = headers["corral-agent"]
        key = protocol.agent_key(SECRET, incarnation)
        wanted = protocol.signature(key, "request", method, path, number, body)
        assert headers["corral-signature"] == wanted
        assert (method, path) == ("POST", "/agent/v1/exchange"), "tasks here have no files"
        del host

        def reply(words: Reply | Refusal) -> None:
            status = 410 if isinstance(words, Refusal) else 200
            said = msgspec.json.encode(words)
            signed = protocol.signature(key, f"reply {status}", method, path, number, said)
            self._carry("reply", lambda: answer(status, signed, said), cut)

        self._carry("request", lambda: self._arrive(body, reply, cut), cut)

    def _carry(self, what: str, arrive: Callable[[], None], cut: Callable[[], None]) -> None:
        delay = self.chance.uniform(0.0005, 0.005)
        luck = self.chance.random()
        if luck < self.faults * 0.4:
            self._note(f"{what} cut")
            self.loop.after(delay, cut)
        elif luck < self.faults * 0.7:
            self._note(f"{what} lost in silence")
        elif luck < self.faults:
            self._note(f"{what} late")
            self.loop.after(self.chance.uniform(0.1, 30), arrive)
        else:
            self.loop.after(delay, arrive)

    # ---------------------------------------------------------------- its counter

    def _arrive(
        self, body: bytes, reply: Callable[[Reply | Refusal], None], cut: Callable[[], None]
    ) -> None:
        if not self.up:
            self.loop.after(0.001, cut)
            return
        request = msgspec.json.decode(body, type=Exchange)
        older = self._held.get(request.incarnation)
        if older is not None and older.request.number < request.number:
            del self._held[request.incarnation]
            older.answer(Reply(number=older.request.number))
        said = self._do(exchange.exchange, request, self.world.parts, self._wall())
        if isinstance(said, Refusal):
            reply(said)
            return
        said = self._dress(said, request.incarnation)
        if request.bye or self._is_news(said, request.incarnation):
            reply(said)
            return
        held = Held(request, reply)
        self._held[request.incarnation] = held
        self.loop.after(said.hold_s, self._let_go, request.incarnation, held)

    def _let_go(self, incarnation: str, held: Held) -> None:
        if self._held.get(incarnation) is held:
            del self._held[incarnation]
            self._grant(incarnation, held, at_last=True)

    def _grant(self, incarnation: str, held: Held, *, at_last: bool) -> bool:
        number = held.request.number
        said = self._do(
            exchange.grant, Incarnation(incarnation), number, self.world.parts, self._wall()
        )
        said = self._dress(said or Reply(number=number), incarnation)
        if at_last or self._is_news(said, incarnation):
            held.answer(said)
            return True
        return False

    def _wake(self) -> None:
        for incarnation, held in list(self._held.items()):
            if self._held.get(incarnation) is held and self._grant(
                incarnation, held, at_last=False
            ):
                self._held.pop(incarnation, None)

    def _dress(self, reply: Reply, incarnation: str) -> Reply:
        del incarnation
        return msgspec.structs.replace(reply, stop="drain") if self.ending else reply

    def _is_news(self, reply: Reply, incarnation: str) -> bool:
        told = frozenset(reply.kill + reply.back) | ({"stop"} if reply.stop else frozenset())
        news = told - self._told.get(incarnation, frozenset())
        self._told[incarnation] = told
        return bool(news or reply.leases or reply.answered)

    # ---------------------------------------------------------------- its keeper

    def _look(self) -> None:
        """See to it that every host has an agent, and that dead ones are mourned."""
        if self.up:
            for host in self.hosts:
                self._keep(host)
        self.loop.after(LOOK_S, self._look)

    def _keep(self, host: Host) -> None:
        if not host.incarnation:
            if not self.ending:
                self._incarnations += 1
                name = Incarnation(f"i{self._incarnations}")
                self._do(
                    upkeep.start_agent, name, host.name, folder="/folder", slots=host.slots,
                    now=self._wall(),
                )  # fmt: skip
                host.start(name)
            return
        if not host.dead:
            return
        assert host.folder is not None
        if host.folder.removed or host.collecting:
            for pid in list(host.alive):
                del host.alive[pid]
            self._do(
                upkeep.end_agent, Incarnation(host.incarnation), why="it died",
                host_state="gone", now=self._wall(),
            )  # fmt: skip
            host.incarnation = ""
        else:
            self._do(upkeep.revive_agent, Incarnation(host.incarnation))
            host.collect()

    # ---------------------------------------------------------------- its crashes

    def crash(self) -> None:
        """Die at once: who is held hears nothing, what was committed stays."""
        if not self.up:
            return
        self.up = False
        self._held.clear()
        self._told.clear()
        self.world.parts = Parts()
        self.loop.after(self.chance.choice((0.1, 2.0, 20.0, 90.0)), self._come_back)

    def _come_back(self) -> None:
        self.up = True

    def end(self) -> None:
        """Nothing is left to do: send the agents home."""
        self.ending = True
        self._wake()

    def _do(self, change: Any, *args: Any, **kwargs: Any) -> Any:
        return self.world.do(change, *args, **kwargs)

    def _hear(self, topics: frozenset[str]) -> None:
        if "work" in topics and self.up:
            self.loop.after(0, self._wake)

    def _wall(self) -> float:
        return self.loop.now + self.loop.wall_offset

    def _note(self, fault: str) -> None:
        self.injected[fault] += 1
