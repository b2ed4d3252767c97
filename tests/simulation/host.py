"""A virtual host: the real link and supervisor on a folder, a process table and wires of words."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

from corral import agent
from corral.protocol import agent_key
from tests.simulation.events import Clock, Loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.master import Master

SECRET = b"s" * 32
ALIVE, SIGTERM, SIGKILL = 0, 15, 9
PIPE_S = 0.001  # between link and supervisor
FORK_S = 0.0005  # shorter: what is said down the pipe meets the new process


class Folder:
    """What an agent has on its disk; it outlives both processes."""

    def __init__(self, tasks: Callable[[str], tuple[float, int, bytes]]) -> None:
        self._tasks = tasks
        self.lines: list[Any] = []
        self.generation = 0
        self.ring: list[str] = []
        self.removed = False

    def next_generation(self) -> int:
        self.generation += 1
        return self.generation

    def journal(self) -> list[Any]:
        lines: list[Any] = json.loads(json.dumps(self.lines))
        return lines

    def write_journal(self, records: list[Any]) -> None:
        self.lines += json.loads(json.dumps(records))

    def strike(self, tickets: list[str], last: bool) -> None:
        self.lines = [line for line in self.lines if line["report"]["ticket"] not in tickets]
        assert not last or not self.lines

    def started(self) -> set[str]:
        return set(self.ring)

    def begin(self) -> None:
        self.ring = []

    def note_start(self, ticket: str) -> None:
        self.ring.append(ticket)

    def has(self, *_: Any) -> int:
        return 1

    def forget(self, ticket: str) -> None:
        del ticket

    def prepare(self, slot: int, *_: Any) -> bytes:
        return b"/slot/%d" % slot

    def streams(self, slot: int) -> tuple[int, int]:
        del slot
        return (-1, -1)

    def gather(self, slot: int, ticket: str, keep: bool) -> list[bytes]:
        del slot, keep
        return [self._tasks(ticket)[2], b""]

    def take_said(self, ticket: str) -> bytes:
        del ticket
        return b""

    def progress(self, ticket: str) -> str:
        del ticket
        return ""

    def tidy(self) -> bool:
        return False


class Host:
    """One machine with at most one agent on it."""

    def __init__(
        self,
        name: str,
        *,
        loop: Loop,
        chance: Random,
        master: Master,
        tasks: Callable[[str], tuple[float, int, bytes]],
    ) -> None:
        self.name = name
        self.loop = loop
        self.chance = chance
        self.master = master
        self.tasks = tasks
        self.alive: dict[int, str] = {}  # pid -> ticket
        self.starts: list[str] = []  # every ticket a process was ever started for
        self.next_pid = 100
        self.slots = chance.choice((1, 2, 4))
        self.incarnation = ""
        self.folder: Folder | None = None
        self.link: Any = None
        self.supervisor: Any = None
        self.lives = 0  # rises when a process dies, so that what was sent to it is dropped
        self.collecting = False

    # ---------------------------------------------------------------- lives and deaths

    def start(self, incarnation: str) -> None:
        """Start an agent in a fresh folder."""
        self.incarnation = incarnation
        self.folder = Folder(self.tasks)
        self.collecting = False
        self._born_link(port=None)

    def collect(self) -> None:
        """Give a dead agent a second life: no supervisor, only its spool."""
        for pid in list(self.alive):
            del self.alive[pid]
        self.collecting = True
        self._born_link(port=None)

    @property
    def dead(self) -> bool:
        """Whether no process of an agent is there."""
        return self.link is None and self.supervisor is None

    def kill_link(self) -> None:
        if self.link is None:
            return
        self.lives += 1
        self.link = None
        if self.supervisor is not None:
            self.loop.after(PIPE_S, self._tell_supervisor_closed, self.lives)

    def kill_supervisor(self) -> None:
        if self.supervisor is None:
            return
        self.lives += 1
        self.supervisor = None
        if self.link is not None:
            self.loop.after(PIPE_S, self._tell_link_closed, self.lives)

    def kill_both(self) -> None:
        self.lives += 1
        self.link = self.supervisor = None

    def _config(self) -> Any:
        key = agent_key(SECRET, self.incarnation).hex()
        given = {
            "owner": "o", "incarnation": self.incarnation, "key": key, "host": self.name,
            "slots": self.slots, "folder": "/folder", "linger_s": 60, "collect": self.collecting,
        }  # fmt: skip
        return agent.Config(given, {b"PATH": b"/bin"})

    def _born_link(self, port: Port | None) -> None:
        assert self.folder is not None
        table = Processes(self, peer="supervisor")
        if port is None and not self.collecting:
            port = table.start_peer()
        facts = {
            "protocol": 1, "platform": "linux-x86_64", "python": "3.6.8", "cores": self.slots,
            "memory": 1 << 30, "disk_free": 1 << 30, "hostname": self.name, "folder": "/folder",
        }  # fmt: skip
        transport = Transport(self)
        self.link = agent.Link(
            self._config(), Clock(self.loop), transport, self.folder, table, port, facts
        )
        self._tick_link(self.lives, self.link)

    def _born_supervisor(self, life: int) -> None:
        if life != self.lives or self.supervisor is not None or self.folder is None:
            return
        self.folder.begin()
        self.supervisor = agent.Supervisor(
            self._config(), Clock(self.loop), self.folder, Processes(self, peer="link"),
            Port(self, "link"),
        )  # fmt: skip
        self._tick_supervisor(self.lives, self.supervisor)

    def _born_again_link(self, life: int) -> None:
        if life == self.lives and self.link is None:
            self._born_link(Port(self, "supervisor"))

    # ---------------------------------------------------------------- what happens to them

    def to_link(self, life: int, event: Callable[[Any], None]) -> None:
        """Hand an event to the link that it was meant for."""
        link = self.link
        if link is None or life != self.lives:
            return
        event(link)
        self._tick_link(life, link)

    def _to_supervisor(self, life: int, event: Callable[[Any], None]) -> None:
        supervisor = self.supervisor
        if supervisor is None or life != self.lives:
            return
        event(supervisor)
        self._tick_supervisor(life, supervisor)

    def say(self, to: str, message: dict[str, Any]) -> None:
        """Send a message down the pipe between the two."""
        words = json.loads(json.dumps(message))
        hand = self.to_link if to == "link" else self._to_supervisor
        self.loop.after(PIPE_S, hand, self.lives, lambda one: one.on_port(words))

    def fork(self, peer: str) -> None:
        born = self._born_supervisor if peer == "supervisor" else self._born_again_link
        self.loop.after(FORK_S, born, self.lives)

    def _tell_supervisor_closed(self, life: int) -> None:
        self._to_supervisor(life, lambda one: one.on_port_closed())

    def _tell_link_closed(self, life: int) -> None:
        self.to_link(life, lambda one: one.on_port_closed())

    def _tick_link(self, life: int, link: Any) -> None:
        if life != self.lives or link is not self.link:
            return
        due = link.tick(self.loop.now)
        if link.over:
            self._end(link)
        elif due is not None:
            self.loop.after(max(due, 1e-4), self._tick_link, life, link)

    def _tick_supervisor(self, life: int, supervisor: Any) -> None:
        if life != self.lives or supervisor is not self.supervisor:
            return
        due = supervisor.tick(self.loop.now)
        if supervisor.over:
            self.lives += 1
            self.supervisor = None
        elif due is not None:
            self.loop.after(max(due, 1e-4), self._tick_supervisor, life, supervisor)

    def _end(self, link: Any) -> None:
        """Both processes end; with ``remove`` nothing of the folder stays."""
        assert self.folder is not None
        self.folder.removed = link.over == "remove"
        self.kill_both()

    # ---------------------------------------------------------------- tasks

    def spawn(self, ticket: str) -> int:
        self.next_pid += 1
        pid = self.next_pid
        self.alive[pid] = ticket
        self.starts.append(ticket)
        seconds, code, _ = self.tasks(ticket)
        self.loop.after(seconds, self._exit, pid, code, None)
        return pid

    def _exit(self, pid: int, code: int | None, number: int | None) -> None:
        if self.alive.pop(pid, None) is None:
            return
        life = self.lives
        self.loop.after(1e-4, self._reap, life, pid, code, number)

    def _reap(self, life: int, pid: int, code: int | None, number: int | None) -> None:
        supervisor = self.supervisor
        if supervisor is None:
            return
        del life
        supervisor.on_exit(pid, code, number, 0.01, 1000)
        self._tick_supervisor(self.lives, supervisor)

    def signal(self, pid: int, number: int) -> None:
        if pid not in self.alive:
            return
        if number == SIGKILL:
            self._exit(pid, None, SIGKILL)
        elif number == SIGTERM and self.chance.random() < 0.7:
            self.loop.after(self.chance.uniform(0, 2), self._exit, pid, None, SIGTERM)


class Port:
    """One end of the pipe between link and supervisor."""

    def __init__(self, host: Host, to: str) -> None:
        self._host = host
        self._to = to

    def send(self, message: dict[str, Any]) -> None:
        self._host.say(self._to, message)


class Processes:
    """The process table as one of the two sees it."""

    def __init__(self, host: Host, *, peer: str) -> None:
        self._host = host
        self._peer = peer

    def spawn(self, words: Any, environment: list[bytes], *_: Any) -> int:
        del words
        found = [v for v in environment if v.startswith(b"CORRAL_TICKET=")]
        return self._host.spawn(found[0].partition(b"=")[2].decode())

    def strays(self, known: Any) -> list[int]:
        del known
        return []

    def origin(self, pid: int) -> tuple[str, int | None, int | None]:
        return self._host.alive.get(pid, ""), None, None

    def tree(self, pids: Any, tag: str) -> set[int]:
        ticket = tag.partition("=")[2]
        alive = self._host.alive
        if tag.startswith("CORRAL_TICKET="):
            return {pid for pid in alive if pid in pids or alive[pid] == ticket}
        return set(alive)

    def signal(self, pids: Any, number: int) -> None:
        for pid in list(pids):
            self._host.signal(pid, number)

    def start_time(self, pid: int) -> int | None:
        return 5 if pid in self._host.alive else None

    def load(self) -> float:
        return 0.0

    def start_peer(self) -> Port:
        self._host.fork(self._peer)
        return Port(self._host, self._peer)


class Transport:
    """The wires of one link to the master."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._open: dict[int, int] = {}  # lane -> what is waited for on it
        self._count = 0

    def send(self, lane: int, method: str, path: str, headers: Any, body: bytes) -> None:
        self._count += 1
        token = self._open[lane] = self._count
        life = self._host.lives

        def answer(status: int, signed: str, words: bytes) -> None:
            if self._open.get(lane) == token:
                del self._open[lane]
                self._host.to_link(life, lambda one: one.on_reply(lane, status, signed, words))

        def cut() -> None:
            if self._open.get(lane) == token:
                del self._open[lane]
                self._host.to_link(life, lambda one: one.on_closed(lane))

        self._host.master.request(self._host, method, path, dict(headers), body, answer, cut)

    def close(self, lane: int) -> None:
        self._open.pop(lane, None)
