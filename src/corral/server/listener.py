"""The HTTP server of a master: uvicorn's, on sockets that come and go, without its signal handlers.

Agents' sockets appear while it runs, and it must end in milliseconds: so the sockets are opened and
closed here, and only uvicorn's connections are used.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

import uvicorn
from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

logging.getLogger("uvicorn").addHandler(logging.NullHandler())  # never onto a user's terminal

KEEP_ALIVE_S = 3600  # an idle agent speaks every 20 s; its connection is not ours to close


class Connection(HttpToolsProtocol):
    """uvicorn's, with a peer that waits for an answer before it asks again, as all of ours do.

    What is asked ahead uvicorn would take apart and keep, however much it is: a hundred times the
    bytes that were sent.
    """

    def on_message_begin(self) -> None:
        """Begin to read a request; what is raised here ends the connection."""
        if self.cycle and not self.cycle.response_complete:
            raise HttpParserError("a request before the answer to the last")
        super().on_message_begin()


class Listener:
    """Serves one ASGI application on any number of sockets."""

    def __init__(self, app: Callable[..., Any]) -> None:
        config = uvicorn.Config(
            app,
            http=HttpToolsProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        config.load()
        self._server = uvicorn.Server(config)  # never run: holds the state connections share
        self._config = config
        self._listening: list[asyncio.Server] = []

    async def open_tcp(self, host: str) -> int:
        """Listen on a free port of ``host``; gives the port."""
        server = await asyncio.get_running_loop().create_server(self.connection, host, 0)
        self._listening.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def open_unix(self, path: Path) -> Callable[[], None]:
        """Listen on a unix socket, made anew; gives what stops it.

        The socket is bound from inside its folder: its path may be longer than 107 bytes.
        """
        path.unlink(missing_ok=True)  # noqa: ASYNC240  (a local folder: microseconds)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            server = await asyncio.get_running_loop().create_unix_server(
                self.connection, f"/proc/self/fd/{folder}/{path.name}"
            )
        finally:
            os.close(folder)
        self._listening.append(server)

        def stop() -> None:
            server.close()
            if server in self._listening:
                self._listening.remove(server)

        return stop

    def close(self) -> None:
        """Stop listening and drop the connections; held requests have been answered before."""
        for server in self._listening:
            server.close()
        for connection in list(self._server.server_state.connections):
            connection.shutdown()

    def connection(self) -> Connection:
        """Make the listener's end of one connection."""
        return Connection(config=self._config, server_state=self._server.server_state, app_state={})
