"""Every door of a master on one page, and what opens and closes them."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, TypeVar

from corral.clock import SystemClock
from corral.failpoint import around
from corral.fleet.base import Doors
from corral.master.master import Master
from corral.server import auth
from corral.server.agents import AgentChannel
from corral.server.listener import Listener
from corral.store.folder import MasterAddress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from pathlib import Path
    from typing import Any

    from starlette.applications import Starlette

    from corral.server.agents import Receive, Scope, Send
    from corral.store.base import Store
    from corral.store.folder import StateFolder

T = TypeVar("T")
HOST = "127.0.0.1"
LAST_WORDS_S = 0.01  # answers that are on their way get out before the connections are dropped


def routes(master: Master) -> Starlette:
    """List the doors for users; all of them need the user's token (`App`)."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    from corral.errors import CorralError
    from corral.server import rest

    app = Starlette(
        routes=[
            Route("/api/v1/runs", rest.submit, methods=["POST"]),
            Route("/api/v1/follow", rest.follow, methods=["POST"]),
            Route("/api/v1/runs/{run}/serve", rest.serve_run, methods=["POST"]),
            Route("/api/v1/runs/{run}/collect", rest.collect, methods=["POST"]),
            Route("/api/v1/runs/{run}/{verb}", rest.change, methods=["POST"]),
        ],
        exception_handlers={CorralError: rest.problem},
    )
    app.state.master = master
    return app


class UserDoor:
    """The application behind the master's own port: users only, each with the user's token."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._users: Starlette | None = None  # made when the first user comes: import time
        self._secret = master.folder.secret
        self.address = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if auth.is_user(scope["headers"], self._secret, self.address):
            if self._users is None:
                self._users = routes(self._master)
            await self._users(scope, receive, _with_points(send))
        else:
            await _refuse(send)


async def serve(folder: StateFolder, store: Store, job: Callable[[Master], Awaitable[T]]) -> T:
    """Be the master of a state folder while ``job`` goes on; the caller holds its lock."""
    opened: list[Listener] = []

    async def listen(place: Path) -> Callable[[], None]:
        return await opened[0].open_unix(place / "sock")

    def connect() -> asyncio.Protocol:
        return opened[0].connection()

    master = Master(folder, store, clock=SystemClock(), doors=Doors(listen, connect))
    agents = Listener(AgentChannel(master))
    opened.append(agents)
    door = UserDoor(master)
    users = Listener(door)
    port = await users.open_tcp(HOST)
    door.address = f"{HOST}:{port}"
    folder.announce(MasterAddress(pid=os.getpid(), host=HOST, port=port))
    try:
        return await master.run(job)
    finally:
        folder.retire()
        master.exchanges.close()
        await asyncio.sleep(LAST_WORDS_S)
        users.close()
        agents.close()


def _with_points(send: Send) -> Send:
    """Make the door's words to a user such that the master may be killed around each."""

    async def say(words: MutableMapping[str, Any]) -> None:
        with around("users.answer"):
            await send(words)

    return say


async def _refuse(send: Send) -> None:
    await send({"type": "http.response.start", "status": 401, "headers": []})
    await send({"type": "http.response.body", "body": b""})
