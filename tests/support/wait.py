"""Wait for something to become true, with a deadline: the only waiting that tests do."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(condition: Callable[[], object], *, seconds: float = 10.0, what: str = "") -> None:
    """Look every few milliseconds until ``condition()`` is true; fail at the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.01)


async def until(condition: Callable[[], object], *, seconds: float = 10.0) -> None:
    """Do the same in an event loop; raises TimeoutError at the deadline."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (what tests wait for wakes nobody)
            await asyncio.sleep(0.01)
