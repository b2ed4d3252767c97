"""A small real master for the agent's tests: HTTP over the unix socket in the agent's folder.

It signs and checks with `corral.protocol`, holds exchanges that want work, takes uploads, gives
shipped files, and can misbehave on request. What it was told stays readable for the tests.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import socketserver
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import msgspec

from corral import protocol
from tests.agent.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SECRET = b"the secret of a state folder"


@dataclass
class Asked:
    """One exchange as it came in: raw, so that a repetition can be compared."""

    number: int
    body: bytes
    exchange: protocol.Exchange


@dataclass
class Master:
    """What the master knows and wants; tests change it under ``changed``."""

    folder: Path
    incarnation: str
    hold_s: float = 0.2
    slots: int = 2
    batch: int = 64
    changed: threading.Condition = field(default_factory=threading.Condition)
    parts: dict[str, protocol.RunPart] = field(default_factory=dict)
    waiting: list[protocol.Lease] = field(default_factory=list)
    granted: dict[str, protocol.Lease] = field(default_factory=dict)
    reports: dict[str, protocol.Report] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)  # tickets reported more than once
    asked: list[Asked] = field(default_factory=list)
    facts: list[protocol.Facts] = field(default_factory=list)
    kill: set[str] = field(default_factory=set)
    stop: str = ""
    bye: bool = False
    gone: bool = False
    blobs: dict[str, bytes] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    files: dict[tuple[str, int], bytearray] = field(default_factory=dict)
    uploads: list[tuple[str, int, int]] = field(default_factory=list)  # ticket, n, offset
    asked_before: list[int] = field(default_factory=list)  # exchanges before each upload
    answer_reports: bool = True
    upload_again: set[str] = field(default_factory=set)
    drop_replies: int = 0  # so many replies are lost with their connection
    forge_replies: int = 0  # so many replies carry a wrong signature
    refuse_connections: bool = False
    cut_upload_at: int | None = None  # the connection breaks when this offset is asked for
    no_room_from: int | None = None  # the disk is full from this offset on

    def __post_init__(self) -> None:
        self.key = protocol.agent_key(SECRET, self.incarnation)
        self.server: Server | None = None

    # ------------------------------------------------ listening

    def listen(self) -> None:
        path = self.folder / "sock"
        path.unlink(missing_ok=True)
        self.server = Server(str(path), Handler)
        self.server.master = self
        thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), name="master")
        thread.start()

    def close(self) -> None:
        """Stop listening and cut all connections, as a dying master does."""
        server, self.server = self.server, None
        if server is None:
            return
        with self.changed:
            self.changed.notify_all()
        server.shutdown()
        server.server_close()
        (self.folder / "sock").unlink(missing_ok=True)
        server.cut_all()

    # ------------------------------------------------ what tests do and see

    def give(self, *leases: protocol.Lease, part: protocol.RunPart, key: str = "run") -> None:
        with self.changed:
            self.parts[key] = part
            self.waiting += [msgspec.structs.replace(lease, part=key) for lease in leases]
            self.changed.notify_all()

    def change(self, **values: object) -> None:
        with self.changed:
            for name, value in values.items():
                setattr(self, name, value)
            self.changed.notify_all()

    def report(self, ticket: str, seconds: float = 10.0) -> protocol.Report:
        wait_until(lambda: ticket in self.reports, seconds, f"no report of {ticket}")
        return self.reports[ticket]

    def running(self) -> set[str]:
        with self.changed:
            return {t for t, _ in self.asked[-1].exchange.running} if self.asked else set()

    # ------------------------------------------------ the exchange

    def exchange(self, asked: Asked, server: Server) -> protocol.Reply:
        with self.changed:
            self.asked.append(asked)
            self.changed.notify_all()
            said = asked.exchange
            if said.facts:
                self.facts.append(said.facts)
            self.bye = self.bye or said.bye
            answered = self.take_reports(said.reports)
            if not answered and not said.bye:
                self.changed.wait_for(lambda: self.has_work(said, server), self.hold_s)
            newest = self.asked[-1].number == said.number
            return self.reply(said, answered) if newest else protocol.Reply(number=said.number)

    def has_work(self, said: protocol.Exchange, server: Server) -> bool:
        newest = self.asked[-1].number
        held = {*said.queued, *(t for t, _ in said.running), *said.ended}
        return bool(
            newest != said.number
            or self.server is not server
            or (self.waiting and said.want)
            or (self.kill & held)
            or self.stop
        )

    def take_reports(self, reports: Iterable[protocol.Report]) -> tuple[str, ...]:
        answered = []
        for report in reports:
            if report.ticket in self.reports:
                self.repeated.append(report.ticket)
            self.reports[report.ticket] = report
            if report.ticket not in self.upload_again and self.answer_reports:
                answered.append(report.ticket)
        return tuple(answered)

    def reply(self, said: protocol.Exchange, answered: tuple[str, ...]) -> protocol.Reply:
        held = {*said.queued, *(t for t, _ in said.running), *said.ended}
        missing = [
            lease
            for ticket, lease in self.granted.items()
            if ticket not in held and ticket not in self.reports
        ]
        fresh = []
        if (said.want or len(said.queued) < self.slots) and not self.stop and not said.bye:
            fresh, self.waiting = self.waiting[: self.batch], self.waiting[self.batch :]
        self.granted.update({lease.ticket: lease for lease in fresh})
        leases = (*missing, *fresh)
        again = tuple(t for t in said.ended if t in self.upload_again and t in self.reports)
        self.upload_again -= set(again)
        for ticket in again:
            self.files = {key: data for key, data in self.files.items() if key[0] != ticket}
        return protocol.Reply(
            number=said.number,
            hold_s=self.hold_s,
            slots=self.slots,
            parts={lease.part: self.parts[lease.part] for lease in leases},
            leases=leases,
            kill=tuple(sorted(self.kill & held)),
            answered=answered,
            upload=again,
            stop=self.stop,  # type: ignore[arg-type]  # tests set only words of the protocol
        )

    # ------------------------------------------------ files

    def receive(self, ticket: str, n: int, offset: int, data: bytes) -> tuple[int, int]:
        """Take a piece; give (status, size of what has arrived)."""
        with self.changed:
            self.uploads.append((ticket, n, offset))
            self.asked_before.append(len(self.asked))
            part = self.files.setdefault((ticket, n), bytearray())
            if self.no_room_from is not None and offset >= self.no_room_from:
                return 507, len(part)
            if offset != len(part):
                return 409, len(part)
            part += data
            return 200, len(part)

    def blob(self, digest: str, offset: int) -> bytes | None:
        with self.changed:
            if offset == 0:
                self.fetched.append(digest)
            data = self.blobs.get(digest)
        return None if data is None else data[offset : offset + protocol.CHUNK]

    def ship(self, path: str, data: bytes, mode: int = 0o644) -> protocol.Input:
        """Offer a file; give the input that names it."""
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return protocol.Input(path=path, sha256=digest, size=len(data), mode=mode)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Threads, one per connection; connections can be cut."""

    daemon_threads = True
    request_queue_size = 16
    master: Master

    def __init__(self, path: str, handler: type[Handler]) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(path, handler)

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self.connections.add(request)
        super().process_request(request, client_address)

    def cut_all(self) -> None:
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that tests cut are no news."""


class Handler(BaseHTTPRequestHandler):
    """One connection of the agent."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        pass

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.server.connections.discard(self.connection)

    def do_POST(self) -> None:
        body = self.body()
        master = self.server.master
        exchange = msgspec.json.decode(body, type=protocol.Exchange)
        asked = Asked(int(self.headers["corral-number"]), body, exchange)
        assert asked.number == exchange.number
        if master.gone:
            self.answer(410, protocol.Refusal(error="unknown incarnation", gone=True))
            return
        reply = master.exchange(asked, self.server)
        with master.changed:
            lost = master.drop_replies > 0
            master.drop_replies -= lost
        if lost or master.server is not self.server:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.answer(200, reply)

    def do_PUT(self) -> None:
        body = self.body()
        path = urlsplit(self.path)
        _, _, _, _, ticket, _, n = path.path.split("/")
        offset = int(parse_qs(path.query)["offset"][0])
        master = self.server.master
        if offset == master.cut_upload_at:
            master.cut_upload_at = None
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, size = master.receive(ticket, int(n), offset, body)
        self.answer(status, protocol.Received(size=size))

    def do_GET(self) -> None:
        self.body()
        path = urlsplit(self.path)
        digest = path.path.rpartition("/")[2]
        data = self.server.master.blob(digest, int(parse_qs(path.query)["offset"][0]))
        if data is None:
            self.answer(404, protocol.Refusal(error="no such file"))
        else:
            self.answer_bytes(200, data)

    def body(self) -> bytes:
        """Read the request's body and check its signature."""
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        master = self.server.master
        assert self.command is not None
        number = int(self.headers["corral-number"])
        wanted = protocol.signature(master.key, "request", self.command, self.path, number, body)
        assert self.headers["corral-signature"] == wanted
        assert self.headers["corral-agent"] == master.incarnation
        return body

    def answer(self, status: int, message: protocol.Message) -> None:
        self.answer_bytes(status, msgspec.json.encode(message))

    def answer_bytes(self, status: int, body: bytes) -> None:
        master = self.server.master
        number = int(self.headers["corral-number"])
        key = master.key
        with master.changed:
            if master.forge_replies > 0:
                master.forge_replies -= 1
                key = b"not the key"
        assert self.command is not None
        signed = protocol.signature(key, f"reply {status}", self.command, self.path, number, body)
        self.send_response_only(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("corral-signature", signed)
        self.end_headers()
        self.wfile.write(body)
