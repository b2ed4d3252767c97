"""The master's end of a login: what the host says first, then the connections it carries.

A login's stdin and stdout carry frames ``(stream, length, bytes)``, the two numbers in four bytes
each, big endian; at most `FRAME` bytes, none = this side has ended the stream. Streams are opened by
the host's relay, numbered upward from 1; each is joined to the master's listener as a connection of its
own. Streams take turns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from corral.agent import FRAME, FRAME_HEAD
from corral.fleet import bootstrap

if TYPE_CHECKING:
    from collections.abc import Callable

    from corral.fleet.bootstrap import Payload

LINE = 1 << 20  # bytes of a line that are kept; any answer is shorter
NOISE = 4096  # bytes kept of what a start-up file prints; it may print as much as it likes
MOST_STREAMS = 8  # an agent opens three; those it gave up may still be on their way
STREAM_BYTES = 80 << 20  # not yet taken by the listener; more than any honest request
MOST_PENDING = 256 << 10  # bytes to the host, for each stream; whoever has more to say waits
LEAST_PENDING = 64 << 10  # bytes; it may go on
PENDING = 256 << 10  # bytes handed to the login's pipe ahead of what it took


class Login(asyncio.Protocol):
    """One login as it is spoken with, over the socket that is its stdin and stdout."""

    def __init__(
        self,
        payload: Payload,
        *,
        connect: Callable[[], asyncio.Protocol] | None,
        committed: Callable[[], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[dict[str, Any] | None] = loop.create_future()
        """What the agent's program says; None if the login ended before it did."""
        self.let_in: asyncio.Future[None] = loop.create_future()
        """Done once our command runs on the host, or the login ended before."""
        self.over = asyncio.Event()  # the login has closed its end
        self.reached = False  # our command runs there
        self.old_pythons: str | None = None  # no Python will do; those that are too old
        self.noise = bytearray()  # what was said before
        self._payload = payload
        self._connect = connect
        self._committed = committed
        self._inbox = bytearray()
        self._streams: dict[int, Stream] = {}
        self._opened = 0  # the newest stream's number
        self._turns: deque[Stream] = deque()  # streams that have something to send
        self._transport: asyncio.Transport | None = None
        self._blocked = False

    # ---------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=PENDING)

    def data_received(self, data: bytes) -> None:
        self._inbox += data
        if not self.answer.done():
            self._read_lines()
        if self.answer.done():
            self._read_frames()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._ignore(self._inbox)
        self._pass_in()
        self._finish(None)
        for stream in list(self._streams.values()):
            stream.lose()
        self._streams.clear()
        self.over.set()

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._pump()

    # ---------------------------------------------------------------- the first words

    def _pass_in(self) -> None:
        if not self.let_in.done():
            self.let_in.set_result(None)

    def _read_lines(self) -> None:
        """Take the lines that come before the frames; of one that never ends, the end is kept."""
        start = 0
        while not self.answer.done() and (end := self._inbox.find(b"\n", start)) >= 0:
            self._read_line(bytes(self._inbox[start:end]).rstrip(b"\r"))
            start = end + 1
        del self._inbox[:start]
        if not self.answer.done() and len(self._inbox) > LINE:
            self._ignore(self._inbox[:-LINE])
            del self._inbox[:-LINE]

    def _read_line(self, line: bytes) -> None:
        if line.startswith(self._payload.mark):
            self._finish(_decode(line[len(self._payload.mark) :]))
            if self._connect is not None:
                self._frame(0, b"")  # a word of its master: the agent may outlive this login
        elif line.endswith(bootstrap.SHELL) and not self.reached:
            self.reached = True
            self._committed()
            self._pass_in()
            self._write(self._payload.whole())
        elif line.startswith(bootstrap.NO_PYTHON) and self.reached:
            self.old_pythons = line[len(bootstrap.NO_PYTHON) :].decode(errors="replace").strip()
            self.close()
        else:
            self._ignore(line + b"\n")

    def _ignore(self, noise: bytes | bytearray) -> None:
        """Keep the end of what is not meant for us, to be shown if nothing else comes."""
        self.noise += noise[-NOISE:]
        del self.noise[:-NOISE]

    def _finish(self, said: dict[str, Any] | None) -> None:
        if not self.answer.done():
            self.answer.set_result(said)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    # ---------------------------------------------------------------- frames

    def _read_frames(self) -> None:
        inbox = memoryview(bytes(self._inbox))
        start = 0
        while len(inbox) - start >= FRAME_HEAD:
            number = int.from_bytes(inbox[start : start + 4], "big")
            size = int.from_bytes(inbox[start + 4 : start + 8], "big")
            end = start + FRAME_HEAD + size
            if size > FRAME:
                self.close()  # not our relay's words
                return
            if len(inbox) < end:
                break
            self._deliver(number, bytes(inbox[start + FRAME_HEAD : end]))
            start = end
        self._inbox = bytearray(inbox[start:])

    def _deliver(self, number: int, data: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None:
            if number <= self._opened:
                return  # it ended on this side, which the relay did not know yet
            if not data or self._connect is None:
                return
            self._opened = number
            if len(self._streams) >= MOST_STREAMS:
                self._refuse(number)
                return
            stream = self._streams[number] = Stream(number, self)
            stream.join(self._connect())
        if data:
            stream.receive(data)
        else:
            del self._streams[number]
            stream.lose()

    def _refuse(self, number: int) -> None:
        """Hang up a stream at once: its agent tries again. Who does not read is told nothing."""
        if not self._blocked:
            self._frame(number, b"")

    def ready(self, stream: Stream) -> None:
        """A stream has something to send."""
        if stream not in self._turns:
            self._turns.append(stream)
        self._pump()

    def ended(self, number: int) -> None:
        """A stream was closed on this side; all that it had to say has been sent."""
        if self._streams.pop(number, None) is not None:
            self._frame(number, b"")

    def _pump(self) -> None:
        """Send a frame of each stream in turn, as long as the login takes them."""
        while self._turns and not self._blocked:
            stream = self._turns.popleft()
            piece = stream.take(FRAME)
            if piece:
                self._frame(stream.number, piece)
            if stream.pending:
                self._turns.append(stream)
            elif stream.is_closing():
                stream.end()
            stream.relax()  # last: it may have the next piece written

    def _frame(self, number: int, data: bytes) -> None:
        self._write(number.to_bytes(4, "big") + len(data).to_bytes(4, "big") + data)


class Stream(asyncio.Transport):
    """One carried connection, as a transport: what the listener's protocol speaks to."""

    def __init__(self, number: int, login: Login) -> None:
        super().__init__()
        self.number = number
        self.pending = bytearray()  # to the host
        self._login = login
        self._protocol: asyncio.Protocol | None = None
        self._inbox = bytearray()  # from the host, while the listener takes nothing
        self._paused = False
        self._full = False  # the protocol was told to wait with its words
        self._closing = False
        self._lost = False

    def join(self, protocol: asyncio.Protocol) -> None:
        """Begin to speak with the listener."""
        self._protocol = protocol
        protocol.connection_made(self)

    def receive(self, data: bytes) -> None:
        """Hand on what came from the host; a listener that has closed hears nothing more."""
        if self._closing:
            return
        if self._paused:
            self._inbox += data
            if len(self._inbox) > STREAM_BYTES:
                self.abort()
        elif self._protocol is not None:
            self._protocol.data_received(data)

    def take(self, most: int) -> bytes:
        """Take what is to be sent next."""
        piece = bytes(self.pending[:most])
        del self.pending[:most]
        return piece

    def relax(self) -> None:
        """Let a protocol that waits go on once little is left to be sent."""
        if self._full and not self._lost and len(self.pending) < LEAST_PENDING:
            self._full = False
            self.get_protocol().resume_writing()

    def end(self) -> None:
        """Close for good; what has not been sent never will be."""
        self._login.ended(self.number)
        self.lose()

    def lose(self) -> None:
        """The other side is gone."""
        if self._lost:
            return
        self._lost = self._closing = True
        self.pending.clear()
        self._inbox.clear()
        if self._protocol is not None:  # later: it may be in the middle of closing us
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    # ---------------------------------------------------------------- asyncio.Transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            self.pending += data
            self._login.ready(self)
            if not self._full and len(self.pending) > MOST_PENDING:
                self._full = True
                self.get_protocol().pause_writing()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        if self._inbox:
            data, self._inbox = bytes(self._inbox), bytearray()
            self.receive(data)

    def is_reading(self) -> bool:
        return not self._paused

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._login.ready(self)

    def abort(self) -> None:
        self.end()

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol


def _decode(text: bytes) -> dict[str, Any]:
    """Read the answer; one that is no JSON object is shown as the error it is."""
    try:
        said = msgspec.json.decode(text)  # it takes nothing that could not be stored as UTF-8
    except (msgspec.MsgspecError, ValueError, RecursionError):
        said = None
    if isinstance(said, dict):
        return said
    return {"error": f"its agent gave no answer but {text[:80]!r}"}
