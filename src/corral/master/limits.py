"""Keeps what nobody's word would remind of: the time of runs, the room on the master's own disk."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from corral.engine import limits
from corral.errors import StoreError
from corral.units import show_size

if TYPE_CHECKING:
    from corral.clock import Clock
    from corral.master.exchanges import Exchanges
    from corral.store.base import Store
    from corral.store.folder import StateFolder

log = logging.getLogger(__name__)

LOOK_S = 1.0  # between looks: a run's time is counted in steps of it
LONGEST_S = 5.0  # a longer step was a machine that slept: it counts as this much


class LimitKeeper:
    """Halts runs that have had their time, and hands out nothing while the disk is nearly full."""

    def __init__(
        self, folder: StateFolder, store: Store, *, exchanges: Exchanges, clock: Clock
    ) -> None:
        self._folder = folder
        self._store = store
        self._exchanges = exchanges
        self._clock = clock
        self._laid = False  # our ballast was there when last looked at
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Look at once: the disk was found full."""
        self._news.set()

    async def keep(self) -> None:
        """Look for as long as the master lives."""
        last = self._clock.ticks()
        try:
            while True:
                await self._watch_room()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._news.wait()
                self._news.clear()
                now = self._clock.ticks()
                await self._count_time(min(now - last, LONGEST_S))
                last = now
        finally:
            self._folder.ballast.drop()

    async def _count_time(self, passed_s: float) -> None:
        with self._store.reader() as reader:
            timed = reader.value("runs_timed")
        if timed:
            await self._write(limits.count_time, passed_s, self._clock.now())

    async def _watch_room(self) -> None:
        """Stop handing out while there is little room; halt what is open when there was none."""
        room = self._folder.room()
        if room.is_low != self._exchanges.parts.low:
            self._exchanges.parts.low = room.is_low
            log.info("room free=%s low=%s", show_size(room.free), room.is_low)
            state = "nearly full: nothing new starts" if room.is_low else "roomy again"
            text = f"the disk of {self._folder.path} is {state}"
            await self._write(limits.note_room, text, self._clock.now())
            self._exchanges.wake()
        ballast = self._folder.ballast
        if self._laid and not ballast.is_laid:
            self._laid = False
            text = f"the disk of {self._folder.path} is full"
            await self._write(limits.halt_all, text, self._clock.now())
        if not room.is_low and not self._laid:
            try:
                ballast.lay()
            except OSError as error:  # a quota, or gone since the look: the next one tells
                log.warning("no ballast reason=%s", error.strerror)
            else:
                self._laid = True

    async def _write(self, *call: object) -> None:
        function, *args = call
        try:
            await asyncio.wrap_future(self._store.write(function, *args))  # type: ignore[arg-type]  # a function of the engine
        except (
            StoreError
        ) as error:  # the disk: agents keep what they have, the next look tries again
            log.warning("limits not kept reason=%s", error)
