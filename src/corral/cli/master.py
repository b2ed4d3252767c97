"""``corral _master``: a master without a terminal; ends when nothing is left to do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import TYPE_CHECKING

from corral.cli import output
from corral.store.folder import StateFolder

if TYPE_CHECKING:
    from corral.master.master import Master


IDLE_S = 3.0  # without anything to do, before it ends: the first submission takes its time
LOOK_S = 0.5
TRY_S = 15.0  # for the lock: the master before this one is just ending


@output.verb("_master", hidden=True)
def command() -> None:
    """Serve the state folder until nothing is left to do."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.INFO)
    folder = StateFolder.find(output.here())
    if folder is not None:
        asyncio.run(_serve(folder))


async def _serve(folder: StateFolder) -> None:
    from corral.server.app import serve

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + TRY_S
    while (lock := folder.try_lock()) is None:
        if loop.time() > deadline or folder.followed():
            return  # somebody else serves
        await asyncio.sleep(0.02)
    store = folder.open_store()
    try:
        await serve(folder, store, _until_idle)
    finally:
        store.close()
        lock.close()


async def _until_idle(master: Master) -> None:
    """Serve until nothing has been open for a while; see every run that ends to its results."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, asked.set)
    busy_since = loop.time()
    while loop.time() - busy_since < IDLE_S:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await asked.wait()
        if asked.is_set():
            await _end(master)
            return
        if master.takes_in() or any(not master.is_stuck(run) for run, _ in master.busy()):
            busy_since = loop.time()


async def _end(master: Master) -> None:
    """SIGTERM: halt what goes on, kill what runs."""
    for run, _ in master.busy():
        await master.change("kill", run)
    await master.end_now()
