"""Keeps the limits of runs that nobody's word would remind of: how long they are served."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from corral.engine import limits

if TYPE_CHECKING:
    from corral.clock import Clock
    from corral.store.base import Store

LOOK_S = 1.0  # between looks: a run's time is counted in steps of it
LONGEST_S = 5.0  # a longer step was a machine that slept: it counts as this much


class LimitKeeper:
    """Counts the time of runs, and halts those that have had theirs."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def keep(self) -> None:
        """Look for as long as the master lives."""
        last = self._clock.ticks()
        while True:
            await self._clock.sleep(LOOK_S)
            now = self._clock.ticks()
            await self._count_time(min(now - last, LONGEST_S))
            last = now

    async def _count_time(self, passed_s: float) -> None:
        with self._store.reader() as reader:
            timed = reader.value("runs_timed")
        if timed:
            await asyncio.wrap_future(
                self._store.write(limits.count_time, passed_s, self._clock.now())
            )
