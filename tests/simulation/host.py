"""A virtual host: its clock, disk and processes, and the agents on it, with their real logic."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from random import Random
from typing import TYPE_CHECKING, Any

from corral import agent as program
from corral.fleet.base import LaunchError
from tests.simulation.events import Clock, Loop, Timeline
from tests.simulation.network import DOWN, UP, Way

if TYPE_CHECKING:
    from collections.abc import Callable

    from corral.fleet.base import AgentStart
    from tests.simulation.network import Channel
    from tests.simulation.plan import Plan
    from tests.simulation.watch import Watch

ALIVE, SIGTERM, SIGKILL = 0, 15, 9
PIPE_S = 0.001  # between link and supervisor
FORK_S = 0.0005  # shorter: what is said down the pipe meets the new process
DYING_S = (0.0, 0.0, 0.0, 0.02, 2.0)  # a SIGKILL waits for a disk that hangs
UNLED_S = 35.0  # a beat, the patience for its answer, and 15 s: after that nothing is started


class Process:
    """A task's own process, or a helper that it left behind."""

    def __init__(self, ticket: str, slot: int, agent: Agent, main: int | None) -> None:
        self.ticket = ticket
        self.slot = slot
        self.agent = agent
        self.supervisor = agent.supervisor  # its parent, or its orphans' adoptive parent
        self.main = main  # pid of the task's own; None: it is that one
        self.doomed = False


class Folder:
    """What an agent has on its disk; it outlives both processes."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.records: list[Any] = []  # of the journal, not answered
        self.generation = 0
        self.ring: list[str] = []
        self.content: set[str] = set()  # shipped files that are here
        self._parts: dict[str, bytearray] = {}

    def _write(self) -> None:
        if self._host.disk_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def next_generation(self) -> int:
        self._write()
        self.generation += 1
        return self.generation

    def journal(self) -> list[Any]:
        records: list[Any] = json.loads(json.dumps(self.records))
        return records

    def write_journal(self, records: list[Any]) -> None:
        self._write()
        self.records += json.loads(json.dumps(records))

    def strike(self, tickets: list[str], last: bool) -> None:
        watch = self._host.watch
        watch.answered([r["report"] for r in self.records], tickets)
        unanswered = [r for r in self.records if r["report"]["ticket"] not in watch.acknowledged]
        if last and unanswered:
            watch.broken(f"{self._host.name} struck out {len(unanswered)} unanswered reports")
        if last:
            self.records = []
        elif not self._host.disk_full:
            self.records = [r for r in self.records if r["report"]["ticket"] not in tickets]

    def started(self) -> set[str]:
        return set(self.ring)

    def begin(self) -> None:
        self.ring = []

    def note_start(self, ticket: str) -> None:
        self._write()
        self.ring.append(ticket)

    def has(self, digest: str, *_: Any) -> int | None:
        return 1 if digest in self.content else None

    def store(self, digest: str, mode: str, offset: int, data: bytes) -> None:
        del mode
        self._write()
        part = self._parts.setdefault(digest, bytearray())
        part[offset:] = data

    def seal(self, digest: str, mode: str) -> bool:
        del mode
        data = bytes(self._parts.pop(digest))
        whole = hashlib.sha256(data).hexdigest() == digest
        if whole:
            self.content.add(digest)
        return whole

    def forget(self, ticket: str) -> None:
        del ticket

    def prepare(self, slot: int, folder: Any, inputs: list[Any], *_: Any) -> bytes:
        del folder
        lacking = [item["path"] for item in inputs if item["sha256"] not in self.content]
        if lacking:
            self._host.watch.broken(f"a task is started without {lacking}")
        self._write()
        return b"/slot/%d" % slot

    def streams(self, slot: int) -> tuple[int, int]:
        del slot
        return (-1, -1)

    def room(self) -> int:
        return 1 << 40

    def bound(self, slot: int, cap: int) -> int:
        del slot, cap
        return 0

    def gather(self, slot: int, ticket: str, keep: bool, cap: int) -> list[bytes]:
        del slot, keep, cap
        return [self._host.plan.act(ticket, self._host.name).out, b""]

    def take_said(self, ticket: str) -> bytes:
        del ticket
        return b""

    def progress(self, ticket: str) -> str:
        del ticket
        return ""

    def tidy(self) -> bool:
        return False

    def outputs(self, ticket: str, folder: Any, wanted: Any) -> tuple[list[Any], list[str]]:
        del folder
        _, generation, task, _ = map(int, ticket.split("-"))
        if self._host.plan.omits(task):
            return [], ["it left no file"]
        data = self._host.plan.file(task, generation)
        return [(name, ticket, len(data), 0o644) for name, _ in wanted], []

    def read(self, path: str, offset: int, size: int) -> bytes:
        _, generation, task, _ = map(int, path.split("-"))
        return self._host.plan.file(task, generation)[offset : offset + size]


class Host:
    """One machine. Its processes die with it; its folders may not."""

    def __init__(self, name: str, *, loop: Loop, seed: int, plan: Plan, watch: Watch) -> None:
        self.name = name
        self.chance = Random(f"{seed}/{name}")
        self.loop = loop
        self.plan = plan
        self.watch = watch
        self.manner = plan.hosts[name]
        self.timeline = Timeline(loop)
        self.clock = Clock(self.timeline)
        self.way = Way(loop, self.chance)
        self.alive: dict[int, Process] = {}
        self.agents: dict[str, Agent] = {}  # by incarnation: those that have a folder here
        self.disk_full = False
        self.gone = False  # for good
        self.down = False
        self.troubled_at = loop.now  # when something last befell it
        self.die_of_task: Callable[[Host], None] = lambda host: None
        self.trap: tuple[str, int] | None = None  # at which step who dies: 1 link, 2 super, 3 both
        self._next_pid = 100

    @property
    def is_well(self) -> bool:
        """Say whether it can be reached, runs, and has room."""
        ill = self.gone or self.down or self.disk_full or self.timeline.frozen
        stopped = any(agent.timeline.frozen for agent in self.agents.values())
        return not ill and not stopped and self.way.is_calm

    # ---------------------------------------------------------------- what a login does

    def begin(self, what: AgentStart) -> Agent:
        """Start an agent in a fresh folder, or a dead one's second life in its own.

        Raises:
            LaunchError: One lives in that folder.
        """
        agent = self.agents.get(what.incarnation)
        if agent is None:
            agent = self.agents[what.incarnation] = Agent(self, what)
        if not agent.dead:
            raise LaunchError(f"{self.name}: another agent lives there", nothing_left=True)
        if what.collect:
            self.kill_tagged(what.incarnation)
        agent.start(collect=what.collect)
        return agent

    def find(self, incarnation: str) -> Agent | None:
        return self.agents.get(incarnation)

    def kill_tagged(self, incarnation: str) -> None:
        for pid, process in list(self.alive.items()):
            if process.agent.incarnation == incarnation:
                del self.alive[pid]

    # ---------------------------------------------------------------- its faults

    def freeze(self, *, clock_runs: bool) -> bool:
        """Let nothing happen on it until `thaw`; what is sent to it waits. False: it is down."""
        if self.timeline.frozen or self.down:
            return False
        self.timeline.freeze(clock_runs=clock_runs)
        self.way.block(UP, DOWN)
        return True

    def thaw(self) -> None:
        self.timeline.thaw()
        self.way.unblock(UP, DOWN)

    def crash(self, *, keeps_spool: bool, loud: bool) -> bool:
        """End all that runs on it until `boot`; False: it is down or frozen already."""
        if self.down or self.timeline.frozen:
            return False
        self.down = True
        if loud:
            self.way.cut()
        self.way.block(UP, DOWN)
        self.alive.clear()
        for agent in list(self.agents.values()):
            if agent.channel is not None and not loud:
                agent.channel.vanish()
                agent.channel = None
            agent.kill_both()
            if not keeps_spool:
                del self.agents[agent.incarnation]
        return True

    def boot(self) -> None:
        """It is back, unless it is gone for good."""
        if not self.gone:
            self.down = False
            self.way.unblock(UP, DOWN)

    def destroy(self) -> None:
        """It is gone for good."""
        self.gone = self.crash(keeps_spool=False, loud=False)

    def step(self, agent: Agent, kind: str) -> None:
        """Something is done at this instant: whoever was to die at it does."""
        if self.trap is not None and self.trap[0] == kind:
            who, self.trap = self.trap[1], None
            victims = (agent.kill_link, agent.kill_supervisor, agent.kill_both)
            agent.timeline.after(0, victims[who - 1])
            self.touch()

    def touch(self) -> None:
        """Take note that something befell it just now."""
        self.troubled_at = self.loop.now

    # ---------------------------------------------------------------- tasks

    def spawn(self, agent: Agent, ticket: str, slot: int) -> int:
        """Start a task's process; what becomes of it stands in the plan."""
        act = self.plan.act(ticket, self.name)
        if act.unspawnable:
            raise program.CannotStart("spawn", "no such program: sim")
        for other in self.alive.values():
            if other.agent is agent and other.slot == slot:
                self.watch.broken(f"{ticket} got slot {slot} while {other.ticket} was alive in it")
        unled_s = agent.unled_s
        if unled_s > UNLED_S:
            self.watch.broken(f"{ticket} was started {unled_s:.0f} s after a master last spoke")
        pid = self._born(Process(ticket, slot, agent, None))
        self.watch.started(ticket)
        self.step(agent, "spawn")
        self.timeline.after(act.seconds, self.exit, pid, act.exit, act.signal)
        if act.helper_s is not None:
            self.timeline.after(act.seconds / 2, self._fork_helper, pid, act.helper_s)
        if act.kills_host:
            self.timeline.after(act.seconds / 2, self._die_of, pid)
        return pid

    def _born(self, process: Process) -> int:
        self._next_pid += 1
        self.alive[self._next_pid] = process
        return self._next_pid

    def _fork_helper(self, main: int, seconds: float) -> None:
        parent = self.alive.get(main)
        if parent is None:
            return
        helper = Process(parent.ticket, parent.slot, parent.agent, main)
        helper.supervisor = parent.supervisor
        self.timeline.after(seconds, self.exit, self._born(helper), 0, None)

    def _die_of(self, pid: int) -> None:
        if pid in self.alive:
            self.watch.note("task kills its host")
            self.die_of_task(self)

    def exit(self, pid: int, code: int | None, number: int | None) -> None:
        """End a process; whoever is its parent by then learns of it."""
        process = self.alive.pop(pid, None)
        if process is None:
            return
        agent, supervisor = process.agent, process.supervisor
        self.step(agent, "exit")
        if process.main is None or process.main not in self.alive:
            agent.timeline.after(1e-4, agent.reap, supervisor, pid, code, number)

    def signal(self, pid: int, number: int) -> None:
        process = self.alive.get(pid)
        if process is None or process.doomed:
            return
        if number == SIGKILL:
            process.doomed = True
            self.timeline.after(self.chance.choice(DYING_S), self.exit, pid, None, SIGKILL)
        elif number == SIGTERM and self.chance.random() < 0.7:
            self.timeline.after(self.chance.uniform(0, 2), self.exit, pid, None, SIGTERM)


class Agent:
    """One incarnation: its folder, and the two processes with the real logic."""

    def __init__(self, host: Host, what: AgentStart) -> None:
        self.host = host
        self.incarnation = what.incarnation
        self.path = f"/{host.name}/{what.incarnation}"
        self.timeline = Timeline(host.timeline)
        self.folder = Folder(host)
        self.link: Any = None
        self.supervisor: Any = None
        self.collecting = False
        self.channel: Channel | None = None
        self._what = what
        self._links = 0  # born so far: tells events for a dead one from those for its successor
        self._supervisors = 0
        self._unborn = ""  # the process that was just forked
        self._pipe = 0  # rises when what was in it is lost
        self._led_s = self._awake_s  # when a master last spoke, or its link was born

    # ---------------------------------------------------------------- lives and deaths

    def start(self, *, collect: bool) -> None:
        """Begin the first life, or the second one that hands in what the first has left."""
        self.collecting = collect
        self._born_link(port=None, table=None)

    @property
    def dead(self) -> bool:
        """Whether no process of it is there."""
        return self.link is None and self.supervisor is None and not self._unborn

    @property
    def _awake_s(self) -> float:
        return self.host.timeline.awake_s - self.timeline.asleep_s

    @property
    def unled_s(self) -> float:
        """Say for how long at the least it has been awake without a master."""
        return self._awake_s - self._led_s

    @property
    def has_folder(self) -> bool:
        return self.host.agents.get(self.incarnation) is self

    def meet(self, channel: Channel) -> None:
        """A relay takes over from the one before it."""
        if self.channel is not None:
            self.channel.break_host()
        self.channel = channel

    def kill_link(self) -> None:
        if self.link is None:
            return
        self.link = None
        self._links += 1
        self._spill()
        if self.supervisor is not None:
            self.timeline.after(PIPE_S, self._tell_supervisor_closed, self._supervisors)
        self._look_dead()

    def kill_supervisor(self) -> None:
        unborn = self._unborn == "supervisor"
        if self.supervisor is None and not unborn:
            return
        self._unborn = "" if unborn else self._unborn
        self.supervisor = None
        self._supervisors += 1
        self._spill()
        if self.link is not None:
            self.timeline.after(PIPE_S, self._tell_link_closed, self._links)
        self._look_dead()

    def terminate(self, process: str) -> None:
        """Send one of the two a SIGTERM."""
        if process == "link":
            self.timeline.after(0, self.to_link, self._links, lambda one: one.on_terminate())
        else:
            life = self._supervisors
            self.timeline.after(0, self._to_supervisor, life, lambda one: one.on_terminate())

    def kill_both(self) -> None:
        self._links += 1
        self._supervisors += 1
        self._pipe += 1
        self._unborn = ""
        self.link = self.supervisor = None
        self._look_dead()

    def remove(self) -> None:
        """Nothing of its folder stays."""
        del self.host.agents[self.incarnation]

    def _spill(self) -> None:
        """A process dies: what it had said may not have left it."""
        if self.host.chance.random() < 0.5:
            self._pipe += 1

    def _look_dead(self) -> None:
        if self.dead and self.channel is not None:
            self.channel.break_host()
            self.channel = None

    def _config(self) -> Any:
        what = self._what
        given = {
            "owner": what.owner, "incarnation": what.incarnation, "key": what.key,
            "host": what.host, "slots": what.slots or self.host.manner.slots, "folder": self.path,
            "linger_s": what.linger_s, "collect": self.collecting,
        }  # fmt: skip
        return program.Config(given, {b"PATH": b"/bin"})

    def _born_link(self, port: Port | None, table: Any) -> None:
        processes = Processes(self, peer="supervisor")
        if port is None and not self.collecting:
            port = processes.start_peer()
        self._links += 1
        self._led_s = self._awake_s
        try:
            self.link = program.Link(
                self._config(), self.host.clock, Transport(self), self.folder, processes, port,
                self._facts(),
            )  # fmt: skip
        except OSError:  # its disk is full: it ends as it begins
            if self.supervisor is not None:
                self.timeline.after(PIPE_S, self._tell_supervisor_closed, self._supervisors)
            self._look_dead()
            return
        if table is not None:
            self.link.on_port({"table": table})
        self._tick_link(self._links)

    def _facts(self) -> dict[str, Any]:
        return {
            "protocol": 1, "platform": "linux-x86_64", "python": "3.6.8",
            "cores": self.host.manner.slots, "memory": 1 << 30, "disk_free": 1 << 30,
            "hostname": self.host.name, "folder": self.path, "time": self.host.clock.wall(),
        }  # fmt: skip

    def fork(self, peer: str) -> None:
        """One of the two forks the other."""
        self._unborn = peer
        table = None
        if peer == "link":
            table = json.loads(json.dumps(self.supervisor.table()))
        self.timeline.after(FORK_S, self._born, peer, self._links, self._supervisors, table)

    def _born(self, peer: str, links: int, supervisors: int, table: Any) -> None:
        if self._unborn != peer:
            return  # it was killed before
        self._unborn = ""
        if peer == "link":
            self._born_link(Port(self, "supervisor"), table)
            if supervisors != self._supervisors:
                self.timeline.after(PIPE_S, self._tell_link_closed, self._links)
            return
        self.folder.begin()
        self._supervisors += 1
        self.supervisor = program.Supervisor(
            self._config(), self.host.clock, self.folder, Processes(self, peer="link"),
            Port(self, "link"),
        )  # fmt: skip
        if links != self._links and self.link is None:
            self.timeline.after(PIPE_S, self._tell_supervisor_closed, self._supervisors)
        self._tick_supervisor(self._supervisors)

    # ---------------------------------------------------------------- what happens to them

    def to_link(self, life: int, event: Callable[[Any], None]) -> None:
        """Hand an event to the link that it was meant for."""
        if self.link is not None and life == self._links:
            event(self.link)
            self._tick_link(life)

    def hear_master(self, life: int, event: Callable[[Any], None]) -> None:
        """Hand a reply to the link that asked for it."""
        self._led_s = self._awake_s
        self.to_link(life, event)

    def _to_supervisor(self, life: int, event: Callable[[Any], None]) -> None:
        if self.supervisor is not None and life == self._supervisors:
            event(self.supervisor)
            self._tick_supervisor(life)

    @property
    def link_life(self) -> int:
        return self._links

    def say(self, to: str, message: dict[str, Any]) -> None:
        """Send a message down the pipe between the two."""
        words = json.loads(json.dumps(message))
        self.timeline.after(PIPE_S, self._hear, to, self._pipe, words)

    def _hear(self, to: str, pipe: int, words: dict[str, Any]) -> None:
        if pipe != self._pipe:
            return
        if to == "link":
            self.to_link(self._links, lambda one: one.on_port(words))
        else:
            self._to_supervisor(self._supervisors, lambda one: one.on_port(words))

    def _tell_supervisor_closed(self, life: int) -> None:
        self._pipe += 1
        self._to_supervisor(life, lambda one: one.on_port_closed())

    def _tell_link_closed(self, life: int) -> None:
        self._pipe += 1
        self.to_link(life, lambda one: one.on_port_closed())

    def reap(self, parent: Any, pid: int, code: int | None, number: int | None) -> None:
        """Tell the supervisor of a child's end, if it still is the one that had it."""
        if parent is not None and parent is self.supervisor:
            self._to_supervisor(
                self._supervisors, lambda one: one.on_exit(pid, code, number, 0.01, 1000)
            )

    def _tick_link(self, life: int) -> None:
        link = self.link
        if link is None or life != self._links:
            return
        due = link.tick(self.host.clock.now())
        if link.over:
            self._end(link)
        elif due is not None:
            self.timeline.after(max(due, 1e-4), self._tick_link, life)

    def _tick_supervisor(self, life: int) -> None:
        supervisor = self.supervisor
        if supervisor is None or life != self._supervisors:
            return
        due = supervisor.tick(self.host.clock.now())
        if supervisor.over:
            self.kill_supervisor()
        elif due is not None:
            self.timeline.after(max(due, 1e-4), self._tick_supervisor, life)

    def _end(self, link: Any) -> None:
        """Both processes end; with ``remove`` nothing of the folder stays."""
        for process in self.host.alive.values():
            if process.agent is self:
                self.host.watch.broken(f"{self.incarnation} ended and left {process.ticket} alive")
        if link.over == "remove":
            self.remove()
            if self.folder.records and not link.gone:
                self.host.watch.broken(
                    f"{self.incarnation} removed {len(self.folder.records)} unanswered reports"
                )
        self.kill_both()


class Port:
    """One end of the pipe between link and supervisor."""

    def __init__(self, agent: Agent, to: str) -> None:
        self._agent = agent
        self._to = to

    def send(self, message: dict[str, Any]) -> None:
        self._agent.say(self._to, message)


class Processes:
    """The process table as one of the two sees it."""

    def __init__(self, agent: Agent, *, peer: str) -> None:
        self._agent = agent
        self._host = agent.host
        self._peer = peer  # the link's is the supervisor: it looks everywhere

    def spawn(self, words: Any, environment: list[bytes], *_: Any) -> int:
        del words
        named = dict(variable.decode().split("=", 1) for variable in environment)
        return self._host.spawn(self._agent, named["CORRAL_TICKET"], int(named["CORRAL_SLOT"]))

    def _mine(self) -> dict[int, Process]:
        """Give what descends from the supervisor; to the link, all that carries the tag."""
        agent = self._agent
        return {
            pid: process
            for pid, process in self._host.alive.items()
            if process.agent is agent
            and (self._peer == "supervisor" or process.supervisor is agent.supervisor)
        }

    def strays(self, known: Any) -> list[int]:
        alive = self._host.alive
        return [
            pid
            for pid, process in self._mine().items()
            if pid not in known and process.main not in alive
            and (process.main is not None or self._peer == "supervisor")
        ]  # fmt: skip

    def origin(self, pid: int) -> tuple[str, int | None, int | None]:
        process = self._host.alive.get(pid)
        return ("" if process is None else process.ticket), None, None

    def tree(self, pids: Any, tag: str) -> set[int]:
        name, _, value = tag.partition("=")
        return {
            pid
            for pid, process in self._mine().items()
            if pid in pids or process.main in pids or name != "CORRAL_TICKET"
            or process.ticket == value
        }  # fmt: skip

    def signal(self, pids: Any, number: int) -> None:
        for pid in sorted(pids):
            self._host.signal(pid, number)

    def start_time(self, pid: int) -> int | None:
        return 5 if pid in self._host.alive else None

    def confine(self, ticket: str, limit: int | None) -> None:
        """No host has control groups: memory is polled."""

    def release(self, group: None) -> None:
        pass

    def oom_kills(self) -> int:
        return 0

    def load(self) -> float:
        return 0.0

    def start_peer(self) -> Port:
        self._agent.fork(self._peer)
        return Port(self._agent, self._peer)


class Transport:
    """The wires of one link to the relay in its folder."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._open: dict[int, int] = {}  # lane -> what is waited for on it
        self._give_up: dict[int, Callable[[], None]] = {}
        self._count = 0

    def send(self, lane: int, method: str, path: str, headers: Any, body: bytes) -> None:
        self._count += 1
        token = self._open[lane] = self._count
        agent = self._agent
        life = agent.link_life

        def answer(status: int, signed: str, words: bytes) -> None:
            if self._open.get(lane) == token:
                agent.timeline.after(
                    0,
                    self._hand,
                    lane,
                    token,
                    lambda: agent.hear_master(
                        life, lambda one: one.on_reply(lane, status, signed, words)
                    ),
                )

        def cut() -> None:
            if self._open.get(lane) == token:
                agent.timeline.after(
                    0,
                    self._hand,
                    lane,
                    token,
                    lambda: agent.to_link(life, lambda one: one.on_closed(lane)),
                )

        if agent.channel is None or not agent.channel.host_end:
            agent.timeline.after(1e-4, cut)
            return
        agent.host.step(agent, "report")
        request = agent.channel.request
        self._give_up[lane] = request(method, path, dict(headers), body, answer, cut)

    def _hand(self, lane: int, token: int, hand: Callable[[], None]) -> None:
        if self._open.get(lane) == token:
            del self._open[lane]
            self._agent.host.step(self._agent, "answer")
            hand()

    def close(self, lane: int) -> None:
        if self._open.pop(lane, None) is not None and lane in self._give_up:
            self._give_up.pop(lane)()
