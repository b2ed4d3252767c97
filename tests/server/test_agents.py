"""Hostile and mistaken messages at the agents' door: refused, recorded, and nothing changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corral.clock import SystemClock
from corral.engine import queries, upkeep
from corral.fleet.base import Doors
from corral.ids import Incarnation
from corral.master.master import Master
from corral.protocol import PROTOCOL, TAIL, Exchange, agent_key, signature
from corral.server.agents import BODY, AgentChannel
from corral.store.folder import StateFolder
from tests.support.world import Agent, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXCHANGE = "/agent/v1/exchange"
TICKET = "1-1-1-1"
TAIL_OF = f"/agent/v1/attempts/{TICKET}/tail"


def nowhere(*_: object) -> Any:
    raise AssertionError("no host is reached here")


class Door:
    """The agents' application of a master that serves nobody, and what is said at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = StateFolder.find_or_make(folder)
        self.store = self.folder.open_store()
        doors = Doors(listen=nowhere, connect=nowhere)
        self.master = Master(self.folder, self.store, clock=SystemClock(), doors=doors)
        self.channel = AgentChannel(self.master)
        for name in ("a1", "a2"):
            self.store.write(
                upkeep.start_agent, Incarnation(name), name, folder="", slots=1, now=1.0
            ).result()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        agent: str = "a1",
        number: bytes = b"1",
        signed: bytes | None = None,
        query: bytes = b"",
    ) -> tuple[int, bytes]:
        """Send a request, signed rightly unless ``signed`` says otherwise; gives status and body."""
        target = path + (f"?{query.decode()}" if query else "")
        if signed is None:
            key = agent_key(self.folder.secret, agent)
            signed = signature(key, "request", method, target, int(number), body).encode()
        headers = [(b"corral-agent", agent.encode("latin-1")), (b"corral-number", number)]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": [*headers, (b"corral-signature", signed)],
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.channel(scope, receive, send))
        return sent[0]["status"], sent[1]["body"]

    def exchange(self, agent: str = "a1", **said: Any) -> tuple[int, dict[str, Any]]:
        body = msgspec.json.encode({"incarnation": agent, "number": 1} | said)
        status, answer = self.ask("POST", EXCHANGE, body, agent=agent)
        return status, msgspec.json.decode(answer)

    def refusals(self) -> list[str]:
        self.store.write(lambda _: None).result()  # what was written before it is there now
        with self.store.reader() as reader:
            found = queries.events(reader, None, limit=1000)
        return [event.text for event in found if event.kind == "refused"]


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    one = Door(tmp_path)
    yield one
    one.store.close()


@pytest.mark.parametrize("signed", [b"", b"0" * 64, b"\xff\xfe", "ä".encode("latin-1")])
def test_what_is_not_signed_learns_nothing_and_is_on_record(door: Door, signed: bytes) -> None:
    assert door.ask("POST", EXCHANGE, b"{}", signed=signed) == (401, b"")
    assert door.ask("GET", f"/agent/v1/blobs/{'0' * 64}", signed=signed) == (401, b"")
    assert door.refusals() == ["agent 'a1': a signature that is not its own"]  # once


@pytest.mark.parametrize("number", [b"-1", b"", b"x", "²".encode("latin-1"), b"9" * 5000])
def test_a_number_that_is_none_is_refused(door: Door, number: bytes) -> None:
    assert door.ask("POST", EXCHANGE, b"{}", number=number, signed=b"x")[0] in (401, 413)
    assert door.refusals()


def test_a_message_larger_than_any_honest_one_is_not_read_to_its_end(door: Door) -> None:
    assert door.ask("POST", EXCHANGE, bytes(BODY + 1), signed=b"x") == (413, b"")
    assert len(door.refusals()) == 1


def test_an_agent_cannot_speak_for_another(door: Door) -> None:
    body = msgspec.json.encode(Exchange(incarnation="a2", number=1))
    status, _ = door.ask("POST", EXCHANGE, body, agent="a1")
    assert status == 403
    assert door.refusals() == ["agent 'a1': 403: signed by another agent"]


def test_an_agent_that_has_ended_is_told_to_go(door: Door) -> None:
    door.store.write(
        upkeep.end_agent, Incarnation("a1"), why="", host_state="gone", now=1.0
    ).result()
    status, said = door.exchange()
    assert (status, said["gone"]) == (410, True)
    assert any("410" in text for text in door.refusals())


def test_an_agent_nobody_knows_is_told_to_go(door: Door) -> None:
    status, said = door.exchange("of-another-folder")
    assert (status, said["gone"]) == (410, True)


def test_an_agent_of_another_protocol_is_told_to_go(door: Door) -> None:
    facts = {
        "protocol": PROTOCOL + 1, "platform": "x", "python": "3", "cores": 1, "memory": 1,
        "disk_free": 1, "hostname": "h", "folder": "/",
    }  # fmt: skip
    body = msgspec.json.encode({"incarnation": "a1", "number": 1, "facts": facts})
    status, answer = door.ask("POST", EXCHANGE, body)
    assert status == 410
    assert str(PROTOCOL + 1) in msgspec.json.decode(answer)["error"]


def test_a_file_of_a_ticket_that_is_not_its_own_is_refused_at_any_offset(door: Door) -> None:
    for offset in (b"0", b"5"):
        path = "/agent/v1/attempts/1-1-1-1/files/2"
        status, _ = door.ask("PUT", path, b"bytes", query=b"offset=" + offset)
        assert status == 403
    assert door.master.blobs.part_size("1-1-1-1", 2) == 0


@pytest.mark.parametrize(
    ("agent", "body", "offset", "status", "why"),
    [
        ("a1", b"x", b"0", 403, "not a ticket of this agent"),  # nobody was given it
        ("a2", b"x", b"3", 403, "not a ticket of this agent"),  # a1 is followed
        ("a1", bytes(TAIL + 1), b"0", 413, f"more than {TAIL} bytes in one piece"),
        ("a1", b"x", b"-1", 400, "not understood: -1 is no place in a stream"),
        ("a1", b"x", b"x", 400, "not understood: "),
        ("a1", b"x", b"9" * 5000, 400, "not understood: "),
    ],
    ids=["nobody's", "another's", "too large", "negative", "no number", "absurd"],
)
def test_a_hostile_tail_is_refused_and_on_record(
    door: Door, agent: str, body: bytes, offset: bytes, status: int, why: str
) -> None:
    if agent == "a2":
        door.master.exchanges.tails.ask(TICKET, Incarnation("a1"), (3, None))
    asked = door.ask("PUT", f"{TAIL_OF}/0", body, agent=agent, query=b"offset=" + offset)
    assert asked[0] == status
    [refused] = door.refusals()
    assert refused.startswith(f"agent {agent!r}: {status}: {why}")


def test_a_tail_is_taken_where_its_reader_is_and_nowhere_else(door: Door) -> None:
    tails = door.master.exchanges.tails
    tails.ask(TICKET, Incarnation("a1"), (3, None))
    assert door.ask("PUT", f"{TAIL_OF}/0", b"def", query=b"offset=3") == (200, b'{"size":6}')
    assert door.ask("PUT", f"{TAIL_OF}/0", b"xyz", query=b"offset=0") == (409, b'{"size":6}')
    assert door.ask("PUT", f"{TAIL_OF}/1", b"xyz", query=b"offset=0") == (409, b'{"size":0}')
    assert asyncio.run(tails.read(TICKET, (3, None), within_s=0)) == (b"def", b"")
    assert door.refusals() == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", f"{TAIL_OF}/2"),
        ("GET", f"{TAIL_OF}/0"),
        ("PUT", f"{TAIL_OF}/0/"),
        ("GET", EXCHANGE),
        ("POST", "/agent/v1/exchange/"),
        ("GET", "/agent/v1/blobs/../../secret"),
        ("GET", f"/agent/v1/blobs/{'0' * 63}G"),
        ("PUT", "/agent/v1/attempts/../1/files/2"),
        ("DELETE", "/agent/v1/attempts/1-1-1-1/files/2"),
        ("GET", "/api/v1/runs"),
    ],
)
def test_there_is_nothing_else_behind_this_door(door: Door, method: str, path: str) -> None:
    assert door.ask(method, path)[0] == 404


def test_whoever_sends_a_file_is_no_silent_host(door: Door) -> None:
    """Bug (seed 1815): its exchange was late, its files came, and it was suspect."""
    door.master.exchanges.expect(Incarnation("a1"), lends=False)
    assert [standing for _, standing in door.master.exchanges.tick(1e6)] == []
    assert len(door.master.exchanges.tick(1e6)) == 1
    path = f"/agent/v1/attempts/{TICKET}/files/0"
    assert door.ask("PUT", path, b"x", signed=b"not its own")[0] == 401
    assert len(door.master.exchanges.tick(0.0)) == 1, "anybody could say that"
    door.ask("PUT", path, b"x")
    assert door.master.exchanges.tick(0.0) == []


def test_an_offset_that_is_none_is_not_understood(door: Door) -> None:
    path = f"/agent/v1/blobs/{'0' * 64}"
    assert door.ask("GET", path, query=b"offset=x")[0] == 400


def test_numbers_that_no_database_holds_are_not_understood(door: Door) -> None:
    assert door.exchange(number=2**63)[0] == 400
    report = {"ticket": "1-1-1-1", "ended": "exited", "digest": "d", "exit": -(2**70)}
    assert door.exchange(reports=[report])[0] == 400


def test_no_report_names_a_file_elsewhere(door: Door, tmp_path: Path) -> None:
    precious = tmp_path / "precious.1"
    precious.write_text("mine")
    ours = {"size": 1, "sha256": "0" * 64}
    for report in (
        {"ticket": f"{tmp_path}/precious", "stderr": ours},
        {"ticket": "../../../precious", "stderr": ours},
        {"ticket": TICKET, "stderr": {"size": 4, "sha256": f"../../../{precious.name}"}},
        {"ticket": TICKET, "files": [{"n": -1, "name": "x"} | ours]},
    ):
        status, _ = door.exchange(reports=[{"ended": "exited", "digest": "d"} | report], bye=True)
        assert status == 400
    assert precious.read_text() == "mine"


def test_a_report_does_not_touch_what_another_agent_has_sent(door: Door) -> None:
    world = World(door.store)
    world.hosts = ["a2"]
    world.submit("echo {n=1,2}")
    assert Agent(world, "a2", 1).take() == [TICKET]
    file = f"/agent/v1/attempts/{TICKET}/files/0"
    assert door.ask("PUT", file, b"its own", agent="a2", query=b"offset=0")[0] == 200
    stdout = {"size": 3, "sha256": "0" * 64}
    report = {"ticket": TICKET, "ended": "exited", "digest": "d", "stdout": stdout}
    assert door.exchange(reports=[report], bye=True)[0] == 200
    assert door.master.blobs.part_size(TICKET, 0) == len(b"its own")
    assert any("another agent" in text for text in door.refusals())


@pytest.mark.parametrize("started", [1e300, -1.0, 1e12])
def test_a_time_that_no_calendar_has_is_not_understood(door: Door, started: float) -> None:
    report = {"ticket": TICKET, "ended": "exited", "digest": "d", "started": started}
    assert door.exchange(reports=[report])[0] == 400


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_no_bytes_break_it(door: Door, body: bytes) -> None:
    status, answer = door.ask("POST", EXCHANGE, body)
    assert status in (400, 403)
    assert "error" in msgspec.json.decode(answer)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(more=st.dictionaries(st.sampled_from(sorted(Exchange.__struct_fields__)), JSON))
def test_no_words_in_the_wrong_place_break_it(door: Door, more: dict[str, object]) -> None:
    body = msgspec.json.encode({"incarnation": "a1", "number": 1, "bye": True} | more)
    status, answer = door.ask("POST", EXCHANGE, body)
    assert status in (200, 400, 403, 410)
    assert isinstance(msgspec.json.decode(answer), dict)


def test_with_little_room_uploads_wait_and_nobody_is_accused(door: Door) -> None:
    door.master.exchanges.parts.low = True
    status, body = door.ask("PUT", "/agent/v1/attempts/1-1-1-1/files/0", b"x", query=b"offset=0")
    assert status == 507
    assert b"nearly full" in body
    assert door.refusals() == []
