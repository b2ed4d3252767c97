"""The agent's world on a virtual clock: just enough to hold its logic to the letter."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from corral import protocol
from tests.agent.support import agent

KEY = b"k" * 32
INCARNATION = "00ff"


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time + 1e9


@dataclass
class Request:
    """What the link sent on a lane."""

    lane: int
    method: str
    path: str
    number: int
    body: bytes

    @property
    def said(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


class Transport:
    """Keeps what was sent; the test answers when it likes."""

    def __init__(self) -> None:
        self.sent: list[Request] = []
        self.closed: list[int] = []

    def send(self, lane: int, method: str, path: str, headers: Any, body: bytes) -> None:
        given = dict(headers)
        number = int(given["corral-number"])
        wanted = protocol.signature(KEY, "request", method, path, number, body)
        assert given["corral-signature"] == wanted
        self.sent.append(Request(lane, method, path, number, body))

    def close(self, lane: int) -> None:
        self.closed.append(lane)


class Port:
    """Keeps what was sent to the other process."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any]) -> None:
        self.sent.append(json.loads(json.dumps(message)))

    def said(self, word: str) -> list[Any]:
        return [message[word] for message in self.sent if word in message]


class Disk:
    """A folder in memory; files are always there unless a test says otherwise."""

    def __init__(self) -> None:
        self.said: dict[str, bytes] = {}  # ticket -> what it wrote to CORRAL_RESULT
        self.progresses: dict[str, str] = {}  # ticket -> its last line
        self.lines: list[Any] = []
        self.generation = 0
        self.starts: list[str] = []
        self.streams_of: dict[str, list[Any]] = {}  # ticket -> [stdout, stderr]
        self.slots: dict[tuple[int, str], bytes] = {}  # (slot, "stdout"|"stderr") -> its file
        self.absent: set[str] = set()  # digests
        self.full = False
        self.free = 1 << 40  # bytes
        self.looks: list[int] = []  # slots whose streams were bounded
        self.written = 0  # bytes of every task's longer stream
        self.forgotten: list[str] = []

    def next_generation(self) -> int:
        self.generation += 1
        return self.generation

    def journal(self) -> list[Any]:
        return list(self.lines)

    def write_journal(self, records: list[Any]) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.lines += records

    def strike(self, tickets: list[str], last: bool) -> None:  # the agent's style
        self.lines = [line for line in self.lines if line["report"]["ticket"] not in tickets]
        assert not last or not self.lines

    def started(self) -> set[str]:
        return set(self.starts)

    def has(self, digest: str, mode: str, size: int) -> int | None:
        return None if digest in self.absent else 1

    def outputs(self, ticket: str, folder: Any, wanted: Any) -> tuple[list[Any], list[str]]:
        return [], []

    def store(self, digest: str, mode: str, offset: int, data: bytes) -> None:
        self.absent.discard(digest)

    def seal(self, digest: str, mode: str) -> bool:
        return digest not in self.absent

    def drop(self, digest: str, mode: str) -> None:
        self.absent.add(digest)

    def forget(self, ticket: str) -> None:
        assert ticket not in {line["report"]["ticket"] for line in self.lines}, "struck first"
        self.forgotten.append(ticket)

    def prepare(self, slot: int, folder: str | None, inputs: list[Any], *_: Any) -> bytes:
        for item in inputs:
            if item["sha256"] in self.absent:
                raise agent.Altered(item["sha256"], "444")
        return b"/slot/%d" % slot

    def streams(self, slot: int) -> tuple[int, int]:
        return (-1, -1)

    def room(self) -> int:
        return self.free

    def note_start(self, ticket: str) -> None:
        self.starts.append(ticket)

    def bound(self, slot: int, cap: int) -> int:
        self.looks.append(slot)
        return self.written

    def gather(self, slot: int, ticket: str, keep: bool, cap: int) -> list[Any]:
        return self.streams_of.get(ticket, [b"", b""])

    def take_said(self, ticket: str) -> bytes:
        return self.said.pop(ticket, b"")

    def progress(self, ticket: str) -> str:
        return self.progresses.get(ticket, "")

    def stream_path(self, ticket: str, name: str) -> tuple[int, str]:
        return 0, "spool"

    def stream_file(self, slot: int, name: str) -> tuple[int, str]:
        return slot, name

    def read(self, path: tuple[int, str], offset: int, size: int) -> bytes:
        return self.slots.get(path, b"")[offset : offset + size]

    def tidy(self) -> bool:
        return False


@dataclass
class Group:
    """The control group of a task."""

    ticket: str
    by: str = "cgroup v2"
    inside: set[int] = field(default_factory=set)  # what nothing else knows to be of the task
    kills: int = 0
    peak: int = 0

    def pids(self) -> set[int]:
        return self.inside

    def oom_kills(self) -> int:
        return self.kills

    def peak_kb(self) -> int:
        return self.peak


@dataclass
class Processes:
    """A process table in memory: a task is one process, plus what tests add to its tree."""

    clock: Clock
    next_pid: int = 100
    spawned: dict[int, list[bytes]] = field(default_factory=dict)
    environments: dict[int, list[bytes]] = field(default_factory=dict)
    alive: set[int] = field(default_factory=set)
    stubborn: set[int] = field(default_factory=set)  # SIGKILL does nothing to these
    signals: list[tuple[int, int]] = field(default_factory=list)
    orphans: dict[int, tuple[str, int | None, Any]] = field(default_factory=dict)
    cannot: agent.CannotStart | OSError | None = None
    weights: dict[int, int] = field(default_factory=dict)  # bytes of a task's tree by its pid
    starts: dict[int, int] = field(default_factory=dict)  # pid -> start time, where it is not 5
    kills: int = 0  # by a kernel that was out of memory
    confines: bool = False  # there are control groups
    groups: dict[str, Group] = field(default_factory=dict)  # by ticket; while they are there
    peers: list[Port] = field(default_factory=list)

    def spawn(self, words: list[bytes], environment: list[bytes], *_: Any) -> int:
        if self.cannot:
            raise self.cannot
        self.next_pid += 1
        self.spawned[self.next_pid] = words
        self.environments[self.next_pid] = environment
        self.alive.add(self.next_pid)
        return self.next_pid

    def pid_of(self, ticket: str) -> int:
        tag = b"CORRAL_TICKET=" + ticket.encode()
        return next(pid for pid, variables in self.environments.items() if tag in variables)

    def strays(self, known: Any) -> list[int]:
        return [pid for pid in self.orphans if pid in self.alive and pid not in known]

    def origin(self, pid: int) -> tuple[str, int | None, Any]:
        return self.orphans[pid]

    def tree(self, pids: Any, tag: str) -> set[int]:
        tagged = {pid for pid, env in self.environments.items() if tag.encode() in env}
        return (set(pids) | tagged) & self.alive

    def signal(self, pids: Any, number: int) -> None:
        for pid in pids:
            self.signals.append((pid, number))
            if number == 9 and pid not in self.stubborn:
                self.alive.discard(pid)

    def start_time(self, pid: int) -> int:
        return self.starts.get(pid, 5)

    def weigh(self, tasks: dict[int, tuple[str, int]]) -> dict[int, int]:
        return {pid: self.weights.get(pid, 0) for pid in tasks}

    def oom_kills(self) -> int:
        return self.kills

    def confine(self, ticket: str, limit: int | None) -> Group | None:
        if limit is None or not self.confines:
            return None
        self.groups[ticket] = Group(ticket)
        return self.groups[ticket]

    def release(self, group: Group | None) -> None:
        if group is not None:
            del self.groups[group.ticket]

    def load(self) -> float:
        return 0.0

    def start_peer(self) -> Port:
        self.peers.append(Port())
        return self.peers[-1]


def config(**changes: Any) -> Any:
    given = {
        "owner": "o",
        "incarnation": INCARNATION,
        "key": KEY.hex(),
        "host": "h",
        "slots": 2,
        "folder": "/folder",
        "linger_s": 60,
    }
    return agent.Config(given | changes, {b"PATH": b"/bin"})


def lease(n: int, **more: Any) -> dict[str, Any]:
    return {"ticket": f"t{n}", "part": "p", "task": n, "attempt": 1, "argv": ["x"]} | more


def ended(n: int, **report: Any) -> dict[str, Any]:
    return {"report": {"ticket": f"t{n}", "ended": "exited", "exit": 0} | report}


PART = {"run": "r"}
