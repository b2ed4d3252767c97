"""What time it is: the one door to the clocks, so that tests and the simulation own the time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> float:
        """Give the wall clock in seconds since 1970, for what people read; it may jump."""
        ...

    def ticks(self) -> float:
        """Give monotonic seconds that stand still while the machine sleeps, for measuring waits."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait so long on this clock."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> float:
        return time.time()

    def ticks(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def utc(seconds: float) -> datetime:
    """Turn stored seconds into the aware time that structs and pages show."""
    return datetime.fromtimestamp(seconds, UTC)
