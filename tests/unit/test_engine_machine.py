"""Does the engine keep every promise whatever comes in whatever order?

Hypothesis plays users, masters and agents against the real engine; beside it stands a small model:
what each agent has, what it was told, and what a user asked for. After each step the invariants of
`tests.support.invariants` hold; at the end everything is driven to an end, and each task must have
come to one that the history allows.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from corral.engine import exchange, judge, upkeep
from corral.engine.judge import Verdict
from corral.engine.parts import Parts
from corral.errors import StateError
from corral.ids import AttemptId, HostId, Incarnation
from corral.protocol import Exchange, Reply, Report
from corral.scheduler.health import KILLED_HOSTS
from tests.support.invariants import TASK_STEPS, Acknowledged, Checks
from tests.support.world import World, ended, facts

if TYPE_CHECKING:
    from collections.abc import Sequence

HOSTS = ("one", "two", "three")
SLOTS = 2
COMMANDS = {"true": (), "seq": (), "cat": ("nonempty",)}  # program -> checks of its results
SECOND_LIFE = 1_000_000  # so much higher are its numbers
MOST_ROUNDS = 200  # until everything has ended; a fair history needs a tenth
LEGAL = {  # verb -> states of a run in which it makes sense
    "pause": {"open"},
    "unpause": {"paused"},
    "stop": {"open", "paused"},
    "kill": {"open", "paused", "halted"},
    "resume": {"open", "paused", "halted", "done"},
    "cancel": {"open", "paused", "halted"},
    "retry": {"open", "paused", "halted", "cancelled", "done"},
}

T = TypeVar("T")
VERBS = st.sampled_from((*LEGAL, "resume", "resume", "retry", "retry", "unpause"))
PICK = st.integers(0, 5)  # one of what there is, counted around
CODES = st.sampled_from((0, 0, 1))
SECONDS = st.sampled_from((0.01, 0.5, 30.0))


def task_of(ticket: str) -> str:
    """Name the task of a ticket: its run, generation and number."""
    return ticket.rpartition("-")[0]


class Worker:
    """An agent as it knows itself, and the last words between it and its master."""

    def __init__(self, name: str, host: str) -> None:
        self.name = name
        self.host = host
        self.number = 0
        self.queued: list[str] = []
        self.running: dict[str, float] = {}  # ticket -> when it was started
        self.spool: dict[str, Report] = {}  # ended, and its report is not answered
        self.known: set[str] = set()  # every ticket that reached it
        self.last: Exchange | None = None
        self.heard = True  # the answer to it arrived
        self.quiet = False  # the answer said nothing, so the request may still be held
        self.silent = False  # its words do not reach the master
        self.alive = True
        self.collected = False  # dead, and what it had finished was handed in

    def words(self, now: float, *, reports: int = len(HOSTS) * 100) -> Exchange:
        """Say all that it holds, and the first few of its reports."""
        self.number += 1
        self.last = Exchange(
            incarnation=self.name,
            number=self.number,
            queued=tuple(self.queued),
            running=tuple((ticket, now - begun) for ticket, begun in self.running.items()),
            ended=tuple(self.spool),
            reports=tuple(self.spool.values())[:reports],
            want=max(0, SLOTS - len(self.queued) - len(self.running)),
            facts=facts() if self.number == 1 else None,
            collects=not self.alive,
        )
        return self.last

    def end(self, ticket: str, report: Report) -> None:
        """Be done with a ticket: its report waits to be answered."""
        if ticket in self.queued:
            self.queued.remove(ticket)
        self.running.pop(ticket, None)
        self.spool[ticket] = report

    def obey(self, reply: Reply, now: float) -> None:
        """Do what a reply says, as far as it is about what is here."""
        for ticket in (*reply.kill, *reply.drop, *reply.back):
            if ticket in self.queued:
                self.end(ticket, Report(ticket=ticket, ended="returned", digest="r" + ticket))
            elif ticket in self.running and ticket not in reply.back:
                begun = self.running[ticket]
                self.end(
                    ticket,
                    Report(ticket=ticket, ended="killed", digest="k" + ticket, started=begun),
                )
        for ticket in reply.answered:
            self.spool.pop(ticket, None)
        for lease in reply.leases:
            if lease.ticket not in self.known:
                self.known.add(lease.ticket)
                self.queued.append(lease.ticket)
        self.heard = True
        self.quiet = not (reply.leases or reply.kill or reply.drop or reply.back or reply.answered)

    def start(self, now: float) -> None:
        """Start the next ticket."""
        self.running[self.queued.pop(0)] = now

    def die(self) -> None:
        """Be gone with all that ran; what had ended is on the disk."""
        self.alive = False
        self.queued, self.running = [], {}
        self.heard, self.quiet = True, False


class Engine(RuleBasedStateMachine):
    """The engine on a store in memory, and everybody who talks to it."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.world.hosts = list(HOSTS)
        self.checks = Checks(self.world.store._connection)
        self.workers: list[Worker] = []
        self.granted: dict[str, str] = {}  # ticket -> the agent that got it
        self.stored: dict[str, Report] = {}  # of which an agent was told so
        self.states: dict[int, tuple[str, str, int | None]] = {}  # task -> its name, state, result
        self.retries: dict[int, int] = {}  # run -> the fewest that were ever asked for
        self.cancelled: set[int] = set()  # runs that ever were
        self.died_running: Counter[str] = Counter()  # task -> hosts that were given up with it

    # ---------------------------------------------------------------- users

    @initialize(hosts=st.integers(1, len(HOSTS)), retries=st.integers(0, 2))
    def begin(self, hosts: int, retries: int) -> None:
        """Have a run and the agents that work for it."""
        for host in HOSTS[:hosts]:
            self.start_agent(host)
        self.submit("true", 6, retries, fresh=False)

    @rule(
        program=st.sampled_from(sorted(COMMANDS)),
        tasks=st.integers(1, 6),
        retries=st.integers(0, 2),
        fresh=st.sampled_from((False,) * 5 + (True,)),
    )
    def submit(self, program: str, tasks: int, retries: int, fresh: bool) -> None:
        """Submit a command: a new run, or one that grows, shrinks or begins anew."""
        values = "{i=" + ",".join(str(n) for n in range(tasks)) + "}"
        submitted = self.world.submit(
            f"{program} {values}", checks=COMMANDS[program], retries=retries, fresh=fresh
        )
        assert submitted.tasks == tasks
        assert submitted.new + submitted.again + submitted.kept == tasks
        self.retries[submitted.run] = min(retries, self.retries.get(submitted.run, retries))

    @precondition(lambda self: self.retries)
    @rule(verb=VERBS, pick=PICK)
    def ask(self, verb: str, pick: int) -> None:
        """Ask something of a run; what makes no sense for its state is refused."""
        run = pick_of(sorted(self.retries), pick)
        if self.world.run(run).state not in LEGAL[verb]:
            with pytest.raises(StateError):
                self.world.verb(verb, run)
            return
        self.world.verb(verb, run)
        if verb == "cancel":
            self.cancelled.add(run)

    # ---------------------------------------------------------------- masters

    @rule()
    def another_master(self) -> None:
        """Begin with nothing but the store; the requests that were held are gone with the old one."""
        self.world.parts = Parts()
        for worker in self.workers:
            worker.quiet = False

    @rule(seconds=st.sampled_from((1.0, 100.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @precondition(lambda self: self._to_judge())
    @rule(pick=PICK, said=st.sampled_from((True, True, False, None)))
    def look_at_a_result(self, pick: int, said: bool | None) -> None:
        """A check says yes, no, or cannot say."""
        self._judge(pick_of(self._to_judge(), pick), said)

    @rule()
    def probe(self) -> None:
        """Let quarantined hosts show that they work."""
        with self.world.store.reader() as reader:
            hosts = [HostId(row[0]) for row in reader.rows("hosts_quarantined")]
        for host in hosts:
            self.world.do(upkeep.probe_host, host)

    # ---------------------------------------------------------------- agents

    @rule(host=st.sampled_from(HOSTS))
    def start_agent(self, host: str) -> None:
        """Start an agent on a host that has none."""
        if any(worker.alive and worker.host == host for worker in self.workers):
            return
        for worker in self.workers:
            if worker.host == host:
                self._bury(worker)
        worker = Worker(f"a{len(self.workers) + 1}", host)
        self.workers.append(worker)
        self.world.do(
            upkeep.start_agent, Incarnation(worker.name), host,
            folder=f"/tmp/{worker.name}", slots=SLOTS, now=self.world.now,
        )  # fmt: skip

    @precondition(lambda self: self._heard())
    @rule(pick=PICK, reports=st.integers(0, 3), arrives=st.sampled_from((True, True, False)))
    def exchange(self, pick: int, reports: int, arrives: bool) -> None:
        """Say what it has and some of its reports; the answer may get lost."""
        self._say(pick_of(self._heard(), pick), reports=reports, arrives=arrives)

    @precondition(lambda self: self._heard())
    @rule(codes=st.lists(CODES, min_size=1, max_size=6), seconds=SECONDS)
    def work(self, codes: list[int], seconds: float) -> None:
        """Agents take what they get, start it and end some of it, each as it can."""
        for worker in self._heard():
            self._say(worker)
            while worker in self._may_start():
                worker.start(self.world.now)
            for ticket, code in zip(list(worker.running), codes, strict=False):
                self._end(worker, ticket, code, seconds=seconds)

    @precondition(lambda self: self._heard())
    @rule(pick=PICK)
    def repeat(self, pick: int) -> None:
        """Say the last words again, byte for byte; the answer counts if none came before."""
        worker = pick_of(self._heard(), pick)
        if worker.last is None:
            return
        before = self._leased_by(worker, worker.number)
        reply = self._send(worker, worker.last)
        again = {lease.ticket for lease in reply.leases}
        assert not before or again <= before
        if not worker.heard:
            worker.obey(reply, self.world.now)

    @precondition(lambda self: self._heard())
    @rule(pick=PICK, back=st.integers(1, 3))
    def say_late(self, pick: int, back: int) -> None:
        """Words that were overtaken arrive after all, and change nothing."""
        worker = pick_of(self._heard(), pick)
        if worker.last is None or worker.number <= back:
            return
        before = self._dump()
        request = Exchange(incarnation=worker.name, number=worker.number - back, want=SLOTS)
        assert self._send(worker, request) == Reply(number=request.number)
        assert self._dump() == before

    @precondition(lambda self: self._heard())
    @rule(pick=PICK)
    def answer_a_held_request(self, pick: int) -> None:
        """Try again for a request that was answered with nothing yet; an older one gets nothing."""
        worker = pick_of(self._heard(), pick)
        older = self._grant(worker, worker.number - 1)
        assert older is None
        if worker.quiet and worker.number:
            reply = self._grant(worker, worker.number)
            assert reply is not None
            self._note_grants(worker, reply)
            self._look_at_leases(worker, reply)
            worker.obey(reply, self.world.now)

    @precondition(lambda self: self._may_start())
    @rule(pick=PICK)
    def start_task(self, pick: int) -> None:
        pick_of(self._may_start(), pick).start(self.world.now)

    @precondition(lambda self: self._at_work())
    @rule(pick=PICK, code=CODES, seconds=SECONDS)
    def end_task(self, pick: int, code: int, seconds: float) -> None:
        worker = pick_of(self._at_work(), pick)
        ticket = next(iter(worker.running))
        self._end(worker, ticket, code, seconds=seconds)

    # ---------------------------------------------------------------- faults

    @precondition(lambda self: self._heard())
    @rule(pick=PICK)
    def fall_silent(self, pick: int) -> None:
        worker = pick_of(self._heard(), pick)
        worker.silent = True
        self.world.do(upkeep.suspect_agent, Incarnation(worker.name), why="nothing is heard")

    @precondition(lambda self: self._silent())
    @rule(pick=PICK)
    def give_up(self, pick: int) -> None:
        """It was silent for too long."""
        self._give_up(pick_of(self._silent(), pick))

    @precondition(lambda self: self._silent())
    @rule(pick=PICK)
    def come_back(self, pick: int) -> None:
        """It speaks again, with whatever it went on with and finished."""
        pick_of(self._silent(), pick).silent = False

    @precondition(lambda self: self._heard())
    @rule(pick=PICK)
    def be_given_up_for_a_while(self, pick: int) -> None:
        """It was silent for too long, and speaks before anybody has taken over its work."""
        worker = pick_of(self._heard(), pick)
        self._give_up(worker)
        self._say(worker)

    @precondition(lambda self: self._living())
    @rule(pick=PICK, buried=st.booleans())
    def die(self, pick: int, buried: bool) -> None:
        """Its processes are gone, which the master may see."""
        worker = pick_of(self._living(), pick)
        worker.die()
        if buried:
            self._bury(worker)

    @precondition(lambda self: self._spools())
    @rule(pick=PICK)
    def collect(self, pick: int) -> None:
        """A second life hands in what a dead agent had finished."""
        self._collect(pick_of(self._spools(), pick))

    # ---------------------------------------------------------------- what holds

    @invariant()
    def every_promise_holds(self) -> None:
        self.checks.everything()

    @invariant()
    def answered_reports_stay_known(self) -> None:
        self.checks.acknowledged(
            Acknowledged(ticket, report.ended, report.exit)
            for ticket, report in self.stored.items()
        )

    @invariant()
    def tasks_take_only_the_drawn_steps(self) -> None:
        """Nothing leaves done, and a task's result stays what it is."""
        connection = self.world.store._connection
        rows = connection.execute(
            "select id, run_id || '-' || generation || '-' || number, state, accepted from task"
        )
        for task, name, state, accepted in rows.fetchall():
            _, before, result = self.states.get(task, (name, state, accepted))
            # several transactions may lie between two looks
            assert before != "done" or (state, accepted) == ("done", result), name
            assert state in TASK_STEPS
            self.states[task] = (name, state, accepted)

    @invariant()
    def nothing_is_accepted_that_was_not_reported(self) -> None:
        rows = self.world.store._connection.execute(
            "select ticket, incarnation, digest from attempt where outcome = 'accepted'"
        )
        for ticket, incarnation, digest in rows.fetchall():
            assert self.granted[ticket] == incarnation
            assert digest == "d" + ticket

    def teardown(self) -> None:
        """Drive everything to an end: agents answer, tasks succeed, checks say yes."""
        try:
            self._to_the_end()
            self.checks.everything()
            self._all_came_to_an_allowed_end()
        finally:
            self.world.store.close()

    # ---------------------------------------------------------------- the end

    def _to_the_end(self) -> None:
        for worker in self.workers:
            worker.silent = False
            if not worker.alive and not worker.collected:
                self._collect(worker)
        for host in HOSTS:
            self.start_agent(host)
        for _ in range(MOST_ROUNDS):
            if self._is_over():
                return
            self._round()
        raise AssertionError(f"not over after {MOST_ROUNDS} rounds: {self.world.recount()}")

    def _round(self) -> None:
        for run in self.retries:
            if self.world.run(run).state in ("paused", "halted"):
                self.world.verb("resume", run)
        self.probe()
        for worker in self._living():
            while worker in self._may_start():
                worker.start(self.world.now)
            for ticket in list(worker.running):
                self._end(worker, ticket, 0)
            self._say(worker)
        for attempt in self._to_judge():
            self._judge(attempt, True)
        self.world.now += 1.0

    def _is_over(self) -> bool:
        runs = {self.world.run(run).state for run in self.retries}
        connection = self.world.store._connection
        (live,) = connection.execute(
            "select count(*) from attempt"
            " where state in ('leased', 'running') or (state = 'reported' and unjudged < 3)"
        ).fetchone()
        busy = [w for w in self._living() if w.queued or w.running or w.spool]
        return runs <= {"done", "cancelled"} and not live and not busy

    def _all_came_to_an_allowed_end(self) -> None:
        connection = self.world.store._connection
        rows = connection.execute(
            "select t.run_id, t.run_id || '-' || t.generation || '-' || t.number, t.state,"
            " (select group_concat(a.outcome) from attempt a where a.task_id = t.id) from task t"
            " join run r on r.id = t.run_id and r.generation = t.generation"
            " where t.position is not null"
        )
        for run, name, state, outcomes in rows.fetchall():
            outcome = Counter((outcomes or "").split(","))
            failures = outcome["failed"] + outcome["rejected"]
            match state:
                case "done":
                    assert outcome["accepted"] == 1, name
                case "failed":
                    assert failures > self.retries[run], name
                case "cancelled":
                    assert run in self.cancelled, name
                case "parked":
                    assert self.died_running[name] >= KILLED_HOSTS, name
                case _:
                    raise AssertionError(f"task {name} is {state} at the end")

    # ---------------------------------------------------------------- words and grants

    def _say(self, worker: Worker, *, reports: int = 100, arrives: bool = True) -> None:
        reply = self._send(worker, worker.words(self.world.now, reports=reports))
        worker.heard, worker.quiet = False, False
        self._look_at_leases(worker, reply)
        if arrives:
            worker.obey(reply, self.world.now)

    def _look_at_leases(self, worker: Worker, reply: Reply) -> None:
        """An agent gets no ticket twice, and no task that it has and may go on with."""
        tickets = {lease.ticket for lease in reply.leases}
        assert not tickets & worker.known, "what it has is granted once more"
        held = {*worker.queued, *worker.running} - {*reply.kill, *reply.drop}
        held |= set(worker.spool) - set(self.stored)
        kept = {task_of(ticket) for ticket in held}
        assert not kept & {task_of(ticket) for ticket in tickets}, "it has that task already"

    def _send(self, worker: Worker, request: Exchange) -> Reply:
        reply = self.world.do(exchange.exchange, request, self.world.parts, self.world.now)
        assert isinstance(reply, Reply), reply
        said = {report.ticket: report for report in request.reports}
        for ticket in reply.answered:
            if ticket in said:
                self.stored[ticket] = said[ticket]
        self._note_grants(worker, reply)
        return reply

    def _grant(self, worker: Worker, number: int) -> Reply | None:
        reply: Reply | None = self.world.do(
            exchange.grant, Incarnation(worker.name), number, self.world.parts, self.world.now
        )
        return reply

    def _note_grants(self, worker: Worker, reply: Reply) -> None:
        for lease in reply.leases:
            holder = self.granted.setdefault(lease.ticket, worker.name)
            assert holder == worker.name, f"{lease.ticket} is given to two agents"

    def _end(self, worker: Worker, ticket: str, code: int, *, seconds: float = 0.5) -> None:
        begun = worker.running[ticket]
        worker.end(ticket, ended(ticket, exit_code=code, seconds=seconds, started=begun))

    def _judge(self, attempt: AttemptId, said: bool | None) -> None:
        if said is None:
            self.world.do(judge.no_verdict, attempt, "it crashed", self.world.now)
        else:
            verdict = Verdict(ok=said, reason="" if said else "it is empty")
            self.world.do(judge.judge, attempt, verdict, self.world.now)

    def _bury(self, worker: Worker) -> None:
        self._count_deaths(worker)
        self.world.do(
            upkeep.end_agent, Incarnation(worker.name), why="it died", host_state="gone",
            now=self.world.now,
        )  # fmt: skip

    def _give_up(self, worker: Worker) -> None:
        self._count_deaths(worker)
        self.world.do(
            upkeep.lose_agent, Incarnation(worker.name), why="silence", now=self.world.now
        )

    def _collect(self, worker: Worker) -> None:
        self._count_deaths(worker)
        self.world.do(upkeep.revive_agent, Incarnation(worker.name))
        worker.number += SECOND_LIFE
        worker.collected = True
        self._say(worker)
        assert not worker.spool
        bye = Exchange(incarnation=worker.name, number=worker.number + 1, collects=True, bye=True)
        self._send(worker, bye)
        self._bury(worker)

    def _count_deaths(self, worker: Worker) -> None:
        """Note which tasks may have been running on an agent's host as it was given up."""
        rows = self.world.store._connection.execute(
            "select ticket from attempt where incarnation = ? and state in ('leased', 'running')",
            (worker.name,),
        )
        self.died_running.update(task_of(ticket) for (ticket,) in rows)

    # ---------------------------------------------------------------- what there is

    def _living(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.alive]

    def _heard(self) -> list[Worker]:
        return [worker for worker in self._living() if not worker.silent]

    def _silent(self) -> list[Worker]:
        return [worker for worker in self._living() if worker.silent]

    def _may_start(self) -> list[Worker]:
        return [w for w in self._living() if w.queued and len(w.running) < SLOTS]

    def _at_work(self) -> list[Worker]:
        return [worker for worker in self._living() if worker.running]

    def _spools(self) -> list[Worker]:
        return [w for w in self.workers if not w.alive and not w.collected]

    def _to_judge(self) -> list[AttemptId]:
        with self.world.store.reader() as reader:
            return [AttemptId(row[0]) for row in reader.rows("attempts_to_judge", 0, 100)]

    def _leased_by(self, worker: Worker, number: int) -> set[str]:
        with self.world.store.reader() as reader:
            return {row[0] for row in reader.rows("leases", worker.name, number)}

    def _dump(self) -> list[str]:
        return list(self.world.store._connection.iterdump())


def pick_of(among: Sequence[T], pick: int) -> T:
    return among[pick % len(among)]


TestEngine = pytest.mark.timeout(60)(Engine.TestCase)  # sixty histories: seconds on an idle machine
TestEngine.settings = settings(
    max_examples=60,
    stateful_step_count=50,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
