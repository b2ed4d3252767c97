"""A world in a line: the real engine on the real store in memory, with agents that are only words."""

from __future__ import annotations

from typing import Any

import msgspec

from corral.engine import control, exchange, queries, upkeep
from corral.engine.parts import Parts
from corral.errors import UsageError
from corral.ids import Incarnation, RunId
from corral.master.submission import carry_out
from corral.model.host import HostSpec
from corral.model.needs import Needs
from corral.model.run import Options, Run, Submission, Submitted
from corral.protocol import PROTOCOL, Exchange, Facts, Refusal, Reply, Report
from corral.store.sqlite import SqliteStore
from corral.work import identity
from corral.work.command import parse


class NoFiles:
    """A folder without files."""

    def is_file(self, path: str) -> bool:
        del path
        return False

    def glob(self, pattern: str) -> list[str]:
        del pattern
        return []

    def inside(self, path: str) -> list[str]:
        del path
        return []

    def read(self, path: str) -> bytes:
        raise UsageError(f"{path}: cannot be read")


class World:
    """One state folder's database, a clock that is set by hand, and its agents."""

    def __init__(self, store: SqliteStore | None = None) -> None:
        self.store = SqliteStore.in_memory() if store is None else store
        self.parts = Parts()
        self.now = 1_000_000.0
        self.topics: list[str] = []
        self.hosts = ["localhost"]  # that every run may use
        self.specs: dict[str, HostSpec] = {}  # of those that are more than a name
        self.store.listen(lambda topics: self.topics.extend(sorted(topics)))

    def do(self, change: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a function of the engine in a transaction."""
        return self.store.write(change, *args, **kwargs).result()

    def submit(self, command: str, **options: Any) -> Submitted:
        """Submit a command."""
        reps = options.pop("reps", 1)
        fresh = options.pop("fresh", False)
        checks = options.pop("checks", ())
        needs = options.pop("needs", Needs())
        inputs = options.pop("inputs", ())
        parsed = parse([command], folder=NoFiles(), reps=reps).command
        parsed = msgspec.structs.replace(parsed, checks=checks, needs=needs)
        submission = Submission(
            name=identity.run_name([command]),
            folder="/work",
            skeleton=identity.skeleton(parsed),
            words=(command,),
            command=parsed,
            inputs=inputs,
            options=Options(out="/work/results/x", reps=reps, **options),
            hosts=tuple(
                self.specs.get(name, HostSpec(name=name, host=name)) for name in self.hosts
            ),
            fresh=fresh,
        )
        return carry_out(self.store, submission, lambda: self.now, begun=lambda _: None)

    def agent(
        self, name: str = "a1", *, host: str = "localhost", slots: int = 2, **found: Any
    ) -> Agent:
        """Have an agent that was just started, on a host that every run may use."""
        self.do(_admit, host)
        if host not in self.hosts:
            self.hosts.append(host)
        self.do(
            upkeep.start_agent,
            Incarnation(name),
            host,
            folder=f"/tmp/{name}",
            slots=slots,
            now=self.now,
        )
        return Agent(self, name, slots, **found)

    def verb(self, verb: str, run: int = 1, tasks: list[int] | None = None) -> Any:
        return self.do(control.apply, verb, RunId(run), tasks, self.now)

    def run(self, number: int = 1) -> Run:
        with self.store.reader() as reader:
            return queries.run(reader, RunId(number))

    def attempts(self, run: int = 1) -> list[tuple[int, str, str | None]]:
        """Give (task, reason, outcome or state) of every attempt."""
        with self.store.reader() as reader:
            found = queries.attempts(reader, queries.run(reader, RunId(run)))
            return [(a.task, a.reason, a.outcome or a.state) for a in found]

    def events(self) -> list[str]:
        with self.store.reader() as reader:
            return [event.kind for event in queries.events(reader, None, limit=100)]

    def recount(self) -> dict[str, int]:
        """Count the tasks by state from the rows, past the counters."""
        connection = self.store._connection
        rows = connection.execute(
            "select t.state, count(*) from task t join run r on r.id = t.run_id"
            " where t.generation = r.generation and t.position is not null group by t.state"
        )
        return dict(rows.fetchall())


class Agent:
    """An agent as the engine sees it: what it says, and what it is answered."""

    def __init__(self, world: World, name: str, slots: int, **found: Any) -> None:
        self.world = world
        self.name = name
        self.slots = slots
        self.number = 0
        self.facts = msgspec.structs.replace(facts(), cores=slots, **found)
        self.held: list[str] = []
        self.running: list[str] = []
        self.running_s = 1.0  # for so long, all of them

    def say(
        self, *reports: Report, number: int | None = None, ended: tuple[str, ...] = (), **more: Any
    ) -> Reply:
        """Exchange; the tickets that were leased are held from then on.

        ``ended`` are over, and their reports are still to come.
        """
        self.number = self.number + 1 if number is None else number
        gone = {report.ticket for report in reports}
        self.held = [ticket for ticket in self.held if ticket not in gone]
        self.running = [ticket for ticket in self.running if ticket not in gone]
        request = Exchange(
            incarnation=self.name,
            number=self.number,
            queued=tuple(t for t in self.held if t not in self.running),
            running=tuple((t, self.running_s) for t in self.running),
            ended=(*ended, *sorted(gone)),
            reports=tuple(reports),
            want=self.slots - len(self.held),
            facts=None if self.number > 1 else self.facts,
            **more,
        )
        reply = self.world.do(exchange.exchange, request, self.world.parts, self.world.now)
        assert isinstance(reply, Reply), reply
        return reply

    def take(self) -> list[str]:
        """Exchange and hold what is leased; gives the tickets."""
        leased = [lease.ticket for lease in self.say().leases]
        self.held += leased
        return leased

    def refused(self, **more: Any) -> Refusal:
        request = Exchange(incarnation=self.name, number=self.number + 1, **more)
        reply = self.world.do(exchange.exchange, request, self.world.parts, self.world.now)
        assert isinstance(reply, Refusal), reply
        return reply


def _admit(tx: Any, host: str) -> None:
    for run, _ in tx.rows("run_names"):
        tx.change("host_run_want", upkeep.name_host(tx, host, slots=1), run, "")


def facts() -> Facts:
    return Facts(
        protocol=PROTOCOL, platform="linux-x86_64", python="3.11.7", cores=2, memory=1 << 30,
        disk_free=1 << 30, hostname="here", folder="/tmp/a",
    )  # fmt: skip


def ended(ticket: str, *, exit_code: int = 0, digest: str = "d", **more: Any) -> Report:
    """Make a report of a task that ran to its end."""
    said = {"ended": "exited", "exit": exit_code, "seconds": 0.5, "slot": 0, **more}
    return Report(ticket=ticket, digest=digest + ticket, **said)
