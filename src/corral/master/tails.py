"""What running tasks have written so far, for those who follow them.

In memory, a little of each, and never a result: what is printed while a task runs is held against its
result in the end (`corral.cli.tail`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from corral.errors import StateError
from corral.protocol import TAIL

if TYPE_CHECKING:
    from corral.clock import Clock
    from corral.ids import Incarnation
    from corral.model.asked import Offsets

KEPT = 4 * TAIL  # bytes of one stream: what is sent on while a reader is busy
FOLLOWED = 100  # tasks at once: their bytes take 100 MB at the most
FORGET_S = 5.0  # without a reader; one who is there asks every second


class Flow:
    """One stream: the bytes from some place on, as far as they have come."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._data = bytearray()
        self._read_to = start  # a reader has all before this

    @property
    def end(self) -> int:
        """Give the place of the next byte to come."""
        return self._start + len(self._data)

    def seek(self, offset: int) -> bool:
        """Take note that a reader goes on at ``offset``; True if that has to be sent anew."""
        self._read_to = offset
        if self._start <= offset <= self.end:
            return False
        self._start = offset
        self._data.clear()
        return True

    def take(self, offset: int, data: bytes) -> bool:
        """Keep a piece, if it is the next one and the readers are not too far behind."""
        if offset != self.end or offset + len(data) - self._read_to > KEPT:
            return False
        self._data += data
        surplus = max(0, len(self._data) - KEPT)
        del self._data[:surplus]
        self._start += surplus
        return True

    def beyond(self, offset: int) -> bytes:
        """Give what is there from ``offset`` on."""
        if not self._start <= offset <= self.end:
            return b""  # another reader, somewhere else, has just asked
        return bytes(self._data[offset - self._start :])


class Tail:
    """What comes of one attempt, and who has it."""

    def __init__(self, holder: Incarnation) -> None:
        self.holder = holder
        self.flows: list[Flow | None] = [None, None]
        self.asked_at = 0.0
        self.seeks = 0  # how often the agent had to be told another place
        self.news = asyncio.Event()


class Tails:
    """All that is followed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tails: dict[str, Tail] = {}
        self._closed = False

    def ask(self, ticket: str, holder: Incarnation, offsets: Offsets) -> bool:
        """Take note that somebody reads on; True if the agent has to hear of it.

        Raises:
            StateError: Too many tasks are followed already.
        """
        self._forget()
        tail = self._tails.get(ticket)
        if tail is None or tail.holder != holder:
            if len(self._tails) >= FOLLOWED:
                raise StateError(
                    f"{FOLLOWED} tasks are followed already", hint="end one of the others first"
                )
            tail = self._tails[ticket] = Tail(holder)
        tail.asked_at = self._clock.ticks()
        seeks = 0
        for n, offset in enumerate(offsets):
            flow = tail.flows[n]
            if offset is None:
                continue  # another reader may want it
            if flow is None:
                tail.flows[n] = Flow(offset)
                seeks += 1
            else:
                seeks += flow.seek(offset)
        tail.seeks += seeks
        return seeks > 0

    async def read(self, ticket: str, offsets: Offsets, *, within_s: float) -> tuple[bytes, bytes]:
        """Give what has come beyond ``offsets``, as soon as something has; nothing in the end."""
        tail = self._tails[ticket]
        try:
            async with asyncio.timeout(within_s):
                while not any(pieces := _beyond(tail, offsets)) and not self._closed:
                    tail.news.clear()
                    await tail.news.wait()
        except TimeoutError:
            return b"", b""
        return pieces

    def wanted(self, holder: Incarnation) -> tuple[tuple[str, int, int], ...]:
        """List what an agent is to send: ticket, stream, and from where on."""
        self._forget()
        return tuple(
            (ticket, n, flow.end)
            for ticket, tail in self._tails.items()
            for n, flow in enumerate(tail.flows)
            if tail.holder == holder and flow is not None
        )

    def words(self, holder: Incarnation) -> frozenset[str]:
        """Name what an agent has to hear of at once, in words that change whenever it does."""
        return frozenset(
            f"follow:{ticket}:{tail.seeks}"
            for ticket, tail in self._tails.items()
            if tail.holder == holder
        )

    def follows(self, ticket: str, holder: Incarnation) -> bool:
        """Say whether somebody reads what this agent sends of an attempt."""
        tail = self._tails.get(ticket)
        return tail is not None and tail.holder == holder

    def take(
        self, ticket: str, holder: Incarnation, n: int, *, offset: int, data: bytes
    ) -> tuple[bool, int]:
        """Take a piece of an attempt; gives whether it was taken, and where to go on."""
        tail = self._tails.get(ticket)
        flow = None if tail is None or tail.holder != holder else tail.flows[n]
        if tail is None or flow is None:
            return False, offset  # nobody reads it any more: the next reply says so
        taken = flow.take(offset, data)
        tail.news.set()
        return taken, flow.end

    def close(self) -> None:
        """Answer whoever waits with nothing: the master ends."""
        self._closed = True
        for tail in self._tails.values():
            tail.news.set()

    def _forget(self) -> None:
        """Drop what nobody reads any more."""
        since = self._clock.ticks() - FORGET_S
        for ticket in [name for name, tail in self._tails.items() if tail.asked_at < since]:
            del self._tails[ticket]


def _beyond(tail: Tail, offsets: Offsets) -> tuple[bytes, bytes]:
    out, err = (
        b"" if flow is None or offset is None else flow.beyond(offset)
        for flow, offset in zip(tail.flows, offsets, strict=True)
    )
    return out, err
