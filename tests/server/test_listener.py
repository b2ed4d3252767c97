"""What may a connection that a login carries cost the master, whatever its host says or leaves unread?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from corral.agent import FRAME
from corral.fleet import relay
from corral.fleet.bootstrap import Payload
from corral.fleet.relay import Login
from corral.server.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable

    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ANSWER = 1 << 20  # bytes
GET = b"GET / HTTP/1.1\r\n\r\n"
TURNS = 200  # of the loop: more than the answers to what is asked at once take


class Deaf(asyncio.Transport):
    """The stdin of a login whose host reads nothing: full from the first byte of an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.login: Login | None = None
        self.written = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        if self.login is not None and len(self.written) > relay.PENDING:
            self.login.pause_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del high, low

    def is_closing(self) -> bool:
        return False


class Server:
    """The agents' listener, behind one login; counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.hung_up = 0  # connections
        self._connections: list[HttpToolsProtocol] = []
        self._listener = Listener(self)
        payload = Payload({})
        self.login = Login(payload, connect=self._connect, committed=lambda: None)
        self.pipe = Deaf()
        self.login.connection_made(self.pipe)
        self.login.data_received(payload.mark + b" {}\n")
        self.pipe.login = self.login

    async def __call__(
        self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]
    ) -> None:
        del scope
        await receive()
        self.asked += 1
        headers = [(b"content-length", str(ANSWER).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(ANSWER)})

    async def hear(self, data: bytes) -> None:
        """Have all streams that a host may open say the same; see what comes of it."""
        for start in range(0, len(data), FRAME):
            piece = data[start : start + FRAME]
            for number in range(1, relay.MOST_STREAMS + 1):
                head = number.to_bytes(4, "big") + len(piece).to_bytes(4, "big")
                self.login.data_received(head + piece)
        await self.rest()
        self.hung_up = sum(one.transport.is_closing() for one in self._connections)

    async def rest(self) -> None:
        """Go on until nothing is left to do."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def _connect(self) -> asyncio.Protocol:
        self._connections.append(self._listener.connection())
        return self._connections[-1]


def ask(said: list[bytes]) -> Server:
    """Have a host say things on all its streams, one by one, read nothing and go."""

    async def talk() -> Server:
        server = Server()
        try:
            for data in said:
                await server.hear(data)
        finally:
            server.login.connection_lost(None)  # else the answers wait for ever
            await server.rest()
        return server

    return asyncio.run(talk())


def test_who_asks_again_before_the_answer_is_hung_up_on() -> None:
    server = ask([GET * 4000])
    assert server.asked <= relay.MOST_STREAMS
    assert server.hung_up == relay.MOST_STREAMS


def test_a_host_that_asks_and_does_not_read_gets_few_answers_made() -> None:
    server = ask([GET] * 20)
    assert relay.MOST_STREAMS <= server.asked <= 3 * relay.MOST_STREAMS
