"""Whatever bytes come from outside, is there a value or an error that says so, and nothing else?

Each reader is tried with anything at all, and with what it knows, spoilt: cut, flipped, doubled, with
numbers without end, lists in lists, NUL, halves of characters put in. Only a `CorralError` may come out
beside a value; at the doors of a master only a refusal.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from corral import units
from corral.cli import output
from corral.cli.hostflags import HostFlags, RealFiles, selected
from corral.cli.select import select
from corral.engine import queries
from corral.errors import CorralError, UsageError
from corral.fleet import relay
from corral.fleet.base import Joined, LaunchError, understood
from corral.fleet.survey import Checked
from corral.hosts import hostset, sshconfig
from corral.protocol import RESULT, Report
from corral.results import values
from corral.results.index import Index
from corral.results.paths import INDEX
from corral.server.app import routes
from corral.work import commandlist, runfile, tables
from corral.work.sweep import Row
from corral.work.where import Where
from tests.agent.support import agent
from tests.agent.test_link import World as Linked
from tests.agent.test_relay import World as Relayed
from tests.agent.test_relay import frame
from tests.server.test_agents import EXCHANGE, Door
from tests.support.world import Agent, World, ended, facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from starlette.applications import Starlette

pytestmark = pytest.mark.timeout(60)  # sixty examples each, on a machine that is shared
outside = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# -------------------------------------------------------------------- what comes from outside

DEEP = 3000  # more than Python's own stack
NASTY = (
    b"9" * 5000, b"9" * 5000 + b"x ./sim", b"0x" + b"f" * 5000, b"-1", b"1e999", b"NaN", b"9" * 400, b"." * 50,
    b"a=" + b"[" * DEEP, b"a=" + b"9" * 5000, b"Include \0", b"Include ~nosuchone/x", b'{"a":"\\ud800"}',
    b"[" * DEEP, b"]" * DEEP, b'{"a":' * DEEP, b"(" * DEEP, b"a." * DEEP, b"{", b"}", b'"', b"'",
    b"\0", b"\xff", b"\xed\xa0\x80", b'"\\ud800"', b"\\ud83d", "²٣".encode(), "\u2028".encode(),
    b"\n", b"\r", b"\t", b"=", b"~nosuchone/x", b"/" * 300, b"x" * 70_000,
)  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, good: Sequence[bytes]) -> bytes:
    """Take what is understood, and change it in up to three places."""
    data = draw(st.sampled_from(good))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, 12))
        head, piece, tail = data[:at], data[at : at + size], data[at + size :]
        data = draw(
            st.sampled_from(
                (
                    head,
                    head + tail,
                    head + piece + piece + tail,
                    head + bytes(byte ^ 1 << size % 8 for byte in piece) + tail,
                    head + draw(st.sampled_from(NASTY)) + tail,
                    head + draw(st.sampled_from(NASTY)) + piece + tail,
                )
            )
        )
    return data


def hostile(*good: bytes) -> st.SearchStrategy[bytes]:
    """Make bytes for a reader that understands ``good``."""
    return st.binary(max_size=80) | st.sampled_from(NASTY) | spoilt(good) | spoilt(good)


def typed(data: bytes) -> str:
    """Decode the words of a command line; those that are no text are refused before all else."""
    return data.decode("utf-8", "replace").replace("\0", "")


# -------------------------------------------------------------------- files and words of a user


class Files:
    """A folder with one file."""

    def __init__(self, data: bytes = b"a\nb\n") -> None:
        self._data = data

    def is_file(self, path: str) -> bool:
        return path == "f"

    def glob(self, pattern: str) -> list[str]:
        return ["f"] if pattern in ("*", "f*") else []

    def inside(self, path: str) -> list[str]:
        return ["f"] if path == "." else []

    def read(self, path: str) -> bytes:
        if not path.startswith("f"):
            raise UsageError(f"{path}: cannot be read")
        return self._data


def hosts_of(folder: Path, data: bytes, name: str) -> object:
    path = folder / name
    path.write_bytes(data)
    everything = name.endswith(".toml")
    flags = HostFlags(
        where=(), exclude=(), group=(), everything=everything, hostfile=str(path), ssh="ssh -F none"
    )
    return selected(flags)


def names_in_ssh_config(folder: Path, data: bytes) -> object:
    path = folder / "config"
    path.write_bytes(data.replace(b"@", str(folder).encode()))
    return sshconfig.names(str(path), RealFiles())


def run_file(folder: Path, data: bytes) -> object:
    text = data.decode(errors="replace")
    understood = runfile.check(text, path="job.toml", folder=Files())
    return understood, runfile.load(runfile.dump(runfile.load(text, path="job.toml")), path="again")


def table(data: bytes, ending: str) -> object:
    notes: list[str] = []
    return tables.read(f"f{ending}", Files(data), notes)


def wanted(data: bytes) -> object:
    where = Where(typed(data), ("T", "name"))
    return [where(Row((text, "b"), rep, 0)) for text in ("0.3", "1e999999") for rep in (1, 2)]


def index(folder: Path, data: bytes) -> object:
    (folder / INDEX).write_bytes(data)
    return Index(folder).get("output.txt")


RUN_FILE = b"""
run = "./sim {T} {>out.csv}"
reps = 3
timeout = "5m"
output_cap = "1G"
where = "T < 3"
exit_codes = { 77 = "skip" }
mem = ["1G", "4G"]
[sweep]
T = "1..5:.5"
[needs]
cpus = 2
[platform."linux-aarch64"]
push = { sim = "f" }
[env]
MODE = "fast"
[[source]]
values = [1, 2]
"""
LISTED = b'run = ["./sim", "{1}", "{2}"]\nhalt = "soon,fail=5%"\ninputs = { "a.txt" = "f" }\n[[source]]\nfile = "f"\n[[source]]\nvalues = [1]\n'
HOSTS = b"""
ssh = "ssh -F none"
[groups]
fast = ["node[1-3]", "@gpu"]
[hosts."node[1-3]"]
slots = 4
tags = ["gpu"]
port = 22
env = { A = "b" }
resources = { gpu = 2 }
setup = "module load x"
[hosts.big]
host = "10.0.0.1"
"""
SSH_CONFIG = b'Host a b* !c\n  HostName x\nHost "d"\nInclude conf.d/*\nInclude @/config @/config @/config ~/x\nMatch all\n'
CSV = b'T,L\n1.5,"16, a"\n2,32\n'
JSON_LINES = b'{"T": 1.5, "L": "x"}\n{"T": 2, "L": null}\n'
COMMANDS = b"# two\n10x ./sim --fast {1..3}\n./sim 'a b'\n"
WHERE = (
    b"T*2 < 100 and name in ('a', 'b') and not (rep == 1 or round(T) >= 2) and len(name) ** 2 // 3"
)
PRINTED = (
    b"E=-1.5 T = 2, name='x'\n", b'talk\n{"a": {"b": [1, 2.50]}, "c": NaN}\n', b'[{"a": 1}, {"a": 2}]',
    b"T,E\n1,2\n2,3.5\n", b"energy 12 is -3.4e-5\n", b'"a text"', b"null",
)  # fmt: skip

READERS: dict[str, tuple[Callable[[Path, bytes], object], tuple[bytes, ...]]] = {
    "hosts.toml": (lambda folder, data: hosts_of(folder, data, "hosts.toml"), (HOSTS,)),
    "hostfile": (
        lambda folder, data: hosts_of(folder, data, "hosts"),
        (b"node[01-12] # a\n4*big,10.0.0.1..9:2222\n", b"user@n[1-2]\nx!y\n[::1]:22\n"),
    ),
    "host set": (
        lambda _, data: hostset.expand(typed(data)),
        (b"node[01-12,20]x[1-3]!node3", b"10.0.0.101..120:2222", b"4*big,user@n[1-2]&n1"),
    ),
    "ssh_config": (names_in_ssh_config, (SSH_CONFIG,)),
    "ssh command": (lambda _, data: sshconfig.check(typed(data)), (b"ssh -F 'my file' -v",)),
    "run file": (run_file, (RUN_FILE, LISTED)),
    "table.csv": (lambda _, data: table(data, ".csv"), (CSV,)),
    "table.tsv": (lambda _, data: table(data, ".tsv"), (CSV.replace(b",", b"\t"),)),
    "table.jsonl": (lambda _, data: table(data, ".jsonl"), (JSON_LINES,)),
    "table": (lambda _, data: table(data, ""), (CSV, JSON_LINES)),
    "commands": (
        lambda _, data: commandlist.read("f", Files(data), [], counts=True),
        (COMMANDS,),
    ),
    "where": (lambda _, data: wanted(data), (WHERE,)),
    "time": (lambda _, data: units.seconds(typed(data)), (b"1h30m", b"00:10:00", b"1.5h")),
    "size": (lambda _, data: units.size(typed(data)), (b"1.5GiB", b"4096", b"64K")),
    "values as they come": (lambda _, data: values.reader("")(data), PRINTED),
    "values in JSON": (lambda _, data: values.reader("json")(data), PRINTED),
    "values in CSV": (lambda _, data: values.reader("csv")(data), PRINTED),
    "values in k=v": (lambda _, data: values.reader("kv")(data), PRINTED),
    "last number": (lambda _, data: values.reader("number")(data), PRINTED),
    "pattern of values": (lambda _, data: values.reader(typed(data)), (b"E=(?P<E>\\S+)",)),
    "documents": (lambda _, data: values.documents(data.decode(errors="replace")), PRINTED),
    "index of results": (index, (b'\n{"path":"output.txt","size":3}\n{"path":"files/1"}\n',)),
}


@pytest.mark.parametrize("name", READERS)
def test_what_a_user_gives_is_a_value_or_an_error(name: str, tmp_path: Path) -> None:
    read, good = READERS[name]

    def try_it(data: bytes) -> None:
        with contextlib.suppress(CorralError):
            msgspec.json.encode(read(tmp_path, data), enc_hook=str)  # and it can be told

    for data in NASTY:
        try_it(data)
    outside(given(hostile(*good))(try_it))()
    for data in good:
        read(tmp_path, data)  # what it knows it takes: else all this says little


# -------------------------------------------------------------------- numbers and names of a user


@pytest.fixture
def world() -> Iterator[World]:
    one = World()
    one.submit("echo {n=1,2}")
    yield one
    one.store.close()


@outside
@given(hostile(b"1", b"1,3-5", b"n=1", b"failed", b"last"))
def test_runs_and_tasks_are_found_or_not(world: World, data: bytes) -> None:
    text = typed(data)
    with world.store.reader() as reader:
        run = queries.find_run(reader, "last")
        for find in (
            lambda: queries.find_run(reader, text),
            lambda: select(reader, run, (text,)),
            lambda: queries.task(reader, run, output.run_and_task((text,))[1]),
            lambda: output.run_maybe_task(reader, (text,)),
            lambda: select(reader, run, output.run_then_tasks(text, ())[1]),
        ):
            with contextlib.suppress(CorralError):
                assert find() is not None


# -------------------------------------------------------------------- a master's doors


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """The agents' door of a master, at which agent ``a1`` holds the ticket ``1-1-1-1``."""
    one = Door(tmp_path)
    world = World(one.store)
    world.hosts = ["a1"]
    world.submit("echo {n=1,2}")
    assert Agent(world, "a1", 1).take() == ["1-1-1-1"]
    nothing = tmp_path / "nothing"
    nothing.touch()
    one.master.blobs.add(nothing)
    one.master.exchanges.close()  # nothing is held back until there is news
    yield one
    one.store.close()


EMPTY = hashlib.sha256().hexdigest().encode()
NUMBERS = itertools.count(2)
REPORT = ended(
    "1-1-1-1", started=1e9, cpu_s=0.1, peak_kb=5, message="oh", result='{"E": 1}',
    stdout={"size": 2, "inline": b"a\n"},
)  # fmt: skip
FILE = {"n": 2, "name": "x", "size": 1, "sha256": "0" * 64}


def said(report: Report) -> bytes:
    words = {
        "incarnation": "a1", "number": 2, "running": [["1-1-1-1", 0.5]], "want": 1, "load": 0.5,
        "progress": [["1-1-1-1", "half"]], "facts": facts(), "reports": [report],
    }  # fmt: skip
    return msgspec.json.encode(words)


SAID = said(REPORT)
WITH_FILE = said(ended("1-1-1-1", files=[FILE]))


@outside
@given(hostile(SAID, WITH_FILE))
@example(b'{"new":' + b"[" * DEEP)
@example(SAID.replace(b"1000000000.0", b"1e300"))
def test_an_agent_is_answered_or_refused_and_all_can_be_shown(door: Door, body: bytes) -> None:
    newest = body.replace(b'"number":2', b'"number":%d' % next(NUMBERS))
    status, answer = door.ask("POST", EXCHANGE, newest)
    assert status in (200, 400, 403, 410)
    assert isinstance(msgspec.json.decode(answer), dict)
    assert status == 200 or door.refusals()
    with door.store.reader() as reader:
        run = queries.find_run(reader, "last")
        shown = (
            list(queries.attempts(reader, run)),
            queries.hosts(reader),
            queries.result(reader, queries.task(reader, run, 1)),
        )
        msgspec.json.encode(shown)


@outside
@given(
    st.sampled_from(("PUT", "GET")),
    hostile(
        b"/agent/v1/attempts/1-1-1-1/files/0?offset=0",
        b"/agent/v1/attempts/1-1-1-1/tail/1?offset=7",
        b"/agent/v1/blobs/" + EMPTY + b"?offset=1",
    ),
)
@example("GET", b"/agent/v1/blobs/" + EMPTY + b"?offset=" + b"9" * 30)
def test_a_place_at_the_agents_door_is_one_or_none(door: Door, method: str, place: bytes) -> None:
    path, _, query = place.decode(errors="replace").partition("?")
    status, _ = door.ask(method, path, b"x", query=query.encode("latin-1", "replace"))
    assert status in (200, 400, 403, 404, 409)
    assert status in (200, 409) or door.refusals()


def ask_as_user(app: Starlette, place: bytes, body: bytes) -> int:
    sent: list[Any] = []
    path, _, query = place.decode(errors="replace").partition("?")
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": place, "root_path": "",
        "query_string": query.encode(), "headers": [(b"host", b"x")],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    status: int = sent[0]["status"]
    return status


@outside
@given(
    hostile(b"/api/v1/runs/1/cancel", b"/api/v1/runs/1/retry", b"/api/v1/follow", b"/api/v1/runs"),
    hostile(
        b'{"tasks": [1, 2]}', b'{"ticket": "1-1-1-2", "offsets": [0, null]}', b'{"submission": {}}'
    ),
)
def test_a_user_is_answered_or_told_why_not(door: Door, place: bytes, body: bytes) -> None:
    app = routes(door.master)
    assert ask_as_user(app, place, body) in (200, 400, 404, 405, 409)
    for known in (
        b"/api/v1/runs/1/pause",
        b"/api/v1/runs/1/retry",
        b"/api/v1/follow",
        b"/api/v1/runs",
    ):
        assert ask_as_user(app, known, body) in (200, 400, 404, 409)


# -------------------------------------------------------------------- a host's words, at the master


@outside
@given(
    st.data(),
    hostile(b'{"folder": "/f", "lives": true}', b'{"error": "no", "hint": "x"}', b'{"gone": true}'),
    hostile(frame(1, b"GET"), frame(1, b"a") + frame(1, b"") + frame(2, b"b")),
    st.lists(st.integers(1, 3000), min_size=1, max_size=5),
)
def test_whatever_a_login_says_is_an_answer_streams_or_its_end(
    data: st.DataObject, said: bytes, carried: bytes, sizes: list[int]
) -> None:
    async def hear() -> None:
        one = Relayed()
        mark = data.draw(st.sampled_from((one.payload.mark, b"")))
        one.hear(one.answer().partition(one.payload.mark)[0] + mark + said + b"\n" + carried, sizes)
        assert len(one.login._inbox) <= relay.LINE + max(sizes)
        assert len(one.login.noise) <= relay.NOISE
        one.login.connection_lost(None)
        answer = one.login.answer.result()
        assert answer is None or isinstance(answer, dict)
        for kind in (Joined, Checked):
            with contextlib.suppress(LaunchError):
                understood(answer or {}, kind, host="h")

    asyncio.run(hear())


# -------------------------------------------------------------------- the agent's side


@outside
@given(hostile(frame(1, b"HTTP/1.1 200"), frame(1, b"a") + frame(1, b"") + frame(7, b"b")))
def test_a_relay_passes_on_what_its_master_says_or_ends(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    one = agent.Relay.__new__(agent.Relay)
    one.inbox, one.streams = bytearray(), {1: agent.RelayStream(1, ours)}
    ours.setblocking(False)
    pieces = [data[at : at + 2 * agent.FRAME] for at in range(0, len(data), 2 * agent.FRAME)]
    with theirs, mock.patch.object(agent.os, "read", side_effect=[*pieces, b""]):
        while one._read_login():
            assert len(one.inbox) <= 3 * agent.FRAME + agent.FRAME_HEAD
    ours.close()


ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncorral-signature: 0f\r\n\r\n{}\n"


@outside
@given(hostile(ANSWER, ANSWER + ANSWER))
def test_an_agent_takes_a_whole_answer_or_hangs_up(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    transport = agent.SocketTransport("nowhere")
    transport.wires[0] = agent.Wire(ours)
    transport.wires[0].waiting = True
    with theirs:
        theirs.setblocking(False)
        theirs.send(data)
        theirs.shutdown(socket.SHUT_WR)
        heard: list[Any] = []
        while 0 in transport.wires:
            heard += transport.events({ours.fileno(): agent.select.POLLIN})
    assert len(heard) == 1
    assert heard[0][0] in ("reply", "closed")


RECORD = {
    "report": {
        "ticket": "1-1-1-1",
        "ended": "exited",
        "exit": 0,
        "stdout": {"size": 2, "inline": "YQo="},
    }
}


@outside
@given(st.data())
def test_an_agent_reads_back_what_a_crash_left(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("agent")
    disk = agent.Disk(str(folder))
    disk.journal()
    disk.write_journal([RECORD, {**RECORD, "outputs": [["x", "file"]]}])
    disk.strike(["1-1-1-2"], last=False)
    disk.close()
    journal = folder / "spool" / "journal"
    journal.write_bytes(data.draw(hostile(journal.read_bytes())))
    (folder / "generation").write_bytes(data.draw(hostile(b"7")))
    (folder / "started").write_bytes(data.draw(hostile(b"1-1-1-1".ljust(64, b"\0"))))
    again = agent.Disk(str(folder))
    linked = Linked(collect=True, disk=again)
    assert isinstance(again.started(), set)
    for sent in linked.exchanges:
        said = msgspec.json.decode(sent.body)
        assert said["number"] < 1 << 62
        reported = [report["ticket"] for report in said.get("reports", ())]
        assert reported in ([], ["1-1-1-1"])
    again.close()


@outside
@given(hostile(b"10 %\n20 %\n"), hostile(b'{"E": 1}'))
def test_what_a_task_tells_is_short_text(
    tmp_path_factory: pytest.TempPathFactory, progress: bytes, result: bytes
) -> None:
    folder = tmp_path_factory.mktemp("agent")
    disk = agent.Disk(str(folder))
    (folder / "said" / "t.progress").write_bytes(progress)
    (folder / "said" / "t.result").write_bytes(result)
    line = disk.progress("t")
    assert len(line) <= agent.PROGRESS_CHARS
    msgspec.json.encode(line)
    assert len(disk.take_said("t")) <= RESULT + 1
    assert not list((folder / "said").iterdir())
    disk.close()
