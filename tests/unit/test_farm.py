"""Are hosts kept for as long as the master lives, and no longer?"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from corral.clock import SystemClock
from corral.fleet.base import Doors
from corral.master.exchanges import Exchanges
from corral.master.farm import Farm
from corral.model.host import HostSpec
from corral.store.folder import StateFolder
from tests.support.world import World

if TYPE_CHECKING:
    from pathlib import Path


def nobody(*_: object) -> Any:
    raise AssertionError("nobody is logged in to")


def test_a_host_that_is_wanted_when_the_master_ends_is_not_kept(tmp_path: Path) -> None:
    """It raised, and left a coroutine that was never awaited."""

    async def story() -> None:
        world, clock = World(), SystemClock()
        farm = Farm(
            StateFolder.make(tmp_path), world.store, exchanges=Exchanges(world.store, clock),
            doors=Doors(listen=nobody, connect=nobody), clock=clock,
        )  # fmt: skip
        keeping = asyncio.create_task(farm.keep(), name="keep hosts")
        await asyncio.sleep(0)  # it begins
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
        await farm.want([HostSpec(name="h1")])

    asyncio.run(story())
