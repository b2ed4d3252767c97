"""The agents' channel: signed requests in, signed replies out; see `corral.protocol`."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec

from corral.engine import upkeep
from corral.errors import StoreError
from corral.failpoint import around
from corral.ids import Incarnation
from corral.protocol import CHUNK, TAIL, Exchange, Received, Refusal, Reply, agent_key, signature

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any

    from corral.master.master import Master
    from corral.protocol import Report

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY = 64 << 20  # bytes; more than any honest exchange: 1000 inline outputs of 64 KiB
NUMBER_DIGITS = 20
NO_ROOM = 507  # the agent keeps the file and tries again
RECORDED = 1000  # refusals of one master; more would only fill the disk of who is attacked
_FILE = re.compile(r"/agent/v1/attempts/([\w-]+)/files/(\d{1,9})", re.ASCII)
_TAIL = re.compile(r"/agent/v1/attempts/([\w-]+)/tail/([01])", re.ASCII)
_BLOB = re.compile(r"/agent/v1/blobs/([0-9a-f]{64})")
_OFFSET = re.compile(r"[0-9]{1,18}")


class Answer(msgspec.Struct, frozen=True):
    """What a request gets."""

    status: int
    body: bytes


class AgentChannel:
    """The ASGI application behind every agent's socket."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._secret = master.folder.secret
        self._exchange = msgspec.json.Decoder(Exchange)
        self._senders: dict[str, str] = {}  # ticket of a file on its way -> who may send it
        self._refused: set[tuple[str, str]] = set()  # what is on record already

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of an agent; whatever is not signed with its key learns nothing."""
        headers = dict(scope["headers"])
        incarnation = headers.get(b"corral-agent", b"").decode("latin-1")
        number = headers.get(b"corral-number", b"0")
        signed = headers.get(b"corral-signature", b"")
        query = scope["query_string"].decode("latin-1")
        target = scope["path"] + (f"?{query}" if query else "")
        body = await _body(receive)
        if body is None or not number.isdigit() or len(number) > NUMBER_DIGITS:
            self._record(incarnation, "a message too large, or without a number")
            await _send(send, Answer(413, b""), "")
            return
        key = agent_key(self._secret, incarnation)
        expected = signature(key, "request", scope["method"], target, int(number), body)
        if not hmac.compare_digest(expected.encode(), signed):
            self._record(incarnation, "a signature that is not its own")
            await _send(send, Answer(401, b""), "")
            return
        self._master.exchanges.hear(Incarnation(incarnation))
        answer = await self._answer(scope["method"], scope["path"], query, incarnation, body)
        if answer.status not in (200, 409, NO_ROOM):  # a full disk is no offence
            why = msgspec.json.decode(answer.body, type=Refusal).error
            self._record(incarnation, f"{answer.status}: {why}")
        seal = signature(
            key, f"reply {answer.status}", scope["method"], target, int(number), answer.body
        )
        await _send(send, answer, seal)

    def _record(self, incarnation: str, why: str) -> None:
        """Put a refusal on record, once for each agent and reason."""
        if (incarnation, why) in self._refused or len(self._refused) >= RECORDED:
            return
        self._refused.add((incarnation, why))
        text = f"agent {incarnation[:16]!r}: {why}"
        with contextlib.suppress(StoreError):  # it is just being closed
            self._master.store.write(upkeep.record_refusal, text, self._master.clock.now())

    async def _answer(
        self, method: str, path: str, query: str, incarnation: str, body: bytes
    ) -> Answer:
        try:
            if method == "POST" and path == "/agent/v1/exchange":
                return await self._take_exchange(incarnation, body)
            if method == "PUT" and (match := _FILE.fullmatch(path)):
                offset = _offset(query)
                return await self._take_file(incarnation, match[1], int(match[2]), offset, body)
            if method == "PUT" and (match := _TAIL.fullmatch(path)):
                offset = _offset(query)
                return await self._take_tail(incarnation, match[1], int(match[2]), offset, body)
            if method == "GET" and (match := _BLOB.fullmatch(path)):
                return await asyncio.to_thread(self._give_blob, match[1], _offset(query))
        except (msgspec.DecodeError, ValueError) as error:
            return _refuse(400, f"not understood: {error}")
        except OSError as error:
            return _refuse(NO_ROOM, f"the master's disk: {error.strerror}")
        except StoreError as error:
            return _refuse(503, error.message)
        return _refuse(404, "there is no such place")

    async def _take_exchange(self, incarnation: str, body: bytes) -> Answer:
        try:
            request = self._exchange.decode(body)
        except RecursionError as error:  # lists in lists in lists
            return _refuse(400, f"not understood: {error}")
        if request.incarnation != incarnation:
            return _refuse(403, "signed by another agent")
        uploaded = any(_names_files(report) for report in request.reports)
        landed = await asyncio.to_thread(self._land, request) if uploaded else request
        reply = await self._master.exchanges.answer(landed)
        if isinstance(reply, Refusal):
            return Answer(410 if reply.gone else 403, msgspec.json.encode(reply))
        for report in request.reports:
            self._senders.pop(report.ticket, None)
        bad = {report.ticket for report in request.reports} - {
            report.ticket for report in landed.reports
        }
        if bad:
            reply = _upload_again(reply, bad)
        return Answer(200, msgspec.json.encode(reply))

    def _land(self, request: Exchange) -> Exchange:
        """Make uploaded files content before the report that names them counts.

        A report whose bytes did not arrive whole is left out, and its files are asked for again.
        What this agent was not given, or has reported before, is not touched: the report alone says
        enough to refuse it, or to answer it once more.
        """
        blobs = self._master.blobs
        good = []
        for report in request.reports:
            streams = [(0, report.stdout), (1, report.stderr)]
            wanted = [(n, stream.sha256, stream.size) for n, stream in streams if stream.sha256]
            wanted += [(file.n, file.sha256, file.size) for file in report.files]
            if wanted and not self._may_send(request.incarnation, report.ticket):
                wanted = []
            landed = [
                blobs.land(report.ticket, n, sha256=sha256, size=size) for n, sha256, size in wanted
            ]
            if all(landed):
                good.append(report)
        if len(good) == len(request.reports):
            return request
        return msgspec.structs.replace(request, reports=tuple(good))

    async def _take_file(
        self, incarnation: str, ticket: str, n: int, offset: int, body: bytes
    ) -> Answer:
        if len(body) > CHUNK:
            return _refuse(413, f"more than {CHUNK} bytes in one piece")
        if self._master.exchanges.parts.low:
            return _refuse(NO_ROOM, "the master's disk is nearly full")
        size = await asyncio.to_thread(self._append, incarnation, ticket, n, offset, body)
        if size is None:
            return _refuse(403, "not a ticket of this agent")
        return Answer(200 if size >= 0 else 409, msgspec.json.encode(Received(size=abs(size))))

    def _append(
        self, incarnation: str, ticket: str, n: int, offset: int, body: bytes
    ) -> int | None:
        """Keep a piece; minus the size where the part ends elsewhere, None for a foreign ticket."""
        blobs = self._master.blobs
        if not self._may_send(incarnation, ticket):
            return None
        self._senders[ticket] = incarnation
        size = blobs.append(ticket, n, offset, body)
        return size if size is not None else -blobs.part_size(ticket, n)

    def _may_send(self, incarnation: str, ticket: str) -> bool:
        return self._senders.get(ticket) == incarnation or self._holds(incarnation, ticket)

    def _holds(self, incarnation: str, ticket: str) -> bool:
        """Say whether an attempt was given to this agent, and its report is still to come."""
        with self._master.store.reader() as reader:
            return bool(reader.value("ticket_holder", ticket) == Incarnation(incarnation))

    async def _take_tail(
        self, incarnation: str, ticket: str, n: int, offset: int, body: bytes
    ) -> Answer:
        """Pass on what a running task writes; nothing of it is kept, and nothing believed."""
        if len(body) > TAIL:
            return _refuse(413, f"more than {TAIL} bytes in one piece")
        tails = self._master.exchanges.tails
        holder = Incarnation(incarnation)
        if not tails.follows(ticket, holder) and not await asyncio.to_thread(
            self._holds, incarnation, ticket
        ):
            return _refuse(403, "not a ticket of this agent")
        taken, end = tails.take(ticket, holder, n, offset=offset, data=body)
        return Answer(200 if taken else 409, msgspec.json.encode(Received(size=end)))

    def _give_blob(self, sha256: str, offset: int) -> Answer:
        try:
            with self._master.blobs.path(sha256).open("rb") as file:
                file.seek(offset)
                return Answer(200, file.read(CHUNK))
        except FileNotFoundError:
            return _refuse(404, "there is no such content")


def _offset(query: str) -> int:
    """Read where in a file a piece belongs.

    Raises:
        ValueError: It is no place in any file.
    """
    text = parse_qs(query).get("offset", ["0"])[0]
    if not _OFFSET.fullmatch(text):
        raise ValueError(f"{text[:20]} is no place in a stream")
    return int(text)


def _names_files(report: Report) -> bool:
    return bool(report.stdout.sha256 or report.stderr.sha256 or report.files)


def _upload_again(reply: Reply, tickets: set[str]) -> Reply:
    return msgspec.structs.replace(
        reply,
        upload=tuple(sorted(tickets)),
        answered=tuple(ticket for ticket in reply.answered if ticket not in tickets),
    )


def _refuse(status: int, error: str) -> Answer:
    return Answer(status, msgspec.json.encode(Refusal(error=error)))


async def _body(receive: Receive) -> bytes | None:
    """Read a request's body; None if it is larger than any honest one."""
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        piece = message.get("body", b"")
        size += len(piece)
        if size > BODY:
            return None
        pieces.append(piece)
        if not message.get("more_body"):
            return b"".join(pieces)


async def _send(send: Send, answer: Answer, seal: str) -> None:
    headers = [(b"content-length", str(len(answer.body)).encode())]
    if seal:
        headers.append((b"corral-signature", seal.encode()))
    with around("agents.answer"):
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
