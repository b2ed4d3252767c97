"""Looks over everybody's shoulder: the promises, checked after each commit and every few seconds.

What it knows it has measured itself; it believes neither the engine's counters nor its policy.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from corral.protocol import Exchange, Reply
from corral.scheduler import placement
from corral.scheduler.lease import LOST_AFTER_S
from tests.support.invariants import (
    ATTEMPT_STEPS,
    HOST_KINDS,
    TASK_STEPS,
    Acknowledged,
    BrokenError,
    Checks,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from sqlite3 import Connection

    from tests.simulation.events import Loop
    from tests.simulation.host import Agent, Host
    from tests.simulation.master import Life
    from tests.simulation.plan import Plan

NOTHING_LEFT = ("its agent died", "it did not start", "its run ended before it was reached")
SAMPLE_S = 5.0
SLACK_S = 3.0  # a tick of the master, and a beat that an older request was held before a newer came
SUSPECT_S = 6.0  # three beats
IDLE_S = 45.0  # two idle beats: so long a free host may stand beside work
WELL_S = 300.0  # so long after its last trouble a host must be in use: back-off, logins, patience
CALM_S = 120.0  # so long after any trouble leases flow again
UNHEARD_S = LOST_AFTER_S + 2 * SUSPECT_S  # a freeze of the master counts as some of it
UNWANTED_S = 60.0  # so long what nobody wants may run: a beat, grace, and a kill that waits
PROBE_S, PROBE_LAST_S = 30.0, 3600.0  # first and longest time in quarantine until a probe
BACK_OFF_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)  # between logins that come to nothing, and half more
BAD_COMMAND = 20  # failures alike, and no success
KILLED_HOSTS = 3  # that died as they ran a task, and no other gets it
MOST_TWINS = 2  # of a task that is late
DIES = "its agent dies as soon as it is started"  # three times in a row: it is given up

OTHER_LOSSES = (  # said by the agent itself, or checked with what becomes of the attempt
    "it died with its agent", "the agent ended", "the agent does not have it any more",
    "its host was not reached at the end",
)  # fmt: skip

TRACE = """
create table history (id integer primary key, what text, name text, was text, now text, extra text);
create trigger history_task after update of state, accepted on task
when old.state is not new.state or old.accepted is not new.accepted begin
    insert into history (what, name, was, now, extra)
    values ('task', new.id, old.state, new.state, old.accepted is not null); end;
create trigger history_attempt after update of state, outcome, granted_by on attempt begin
    insert into history (what, name, was, now, extra)
    values ('attempt', new.ticket, old.state, new.state, coalesce(old.outcome, '')); end;
create trigger history_leased after insert on attempt begin
    insert into history (what, name, was, now, extra)
    values ('leased', new.ticket, new.incarnation, new.granted_by, new.reason); end;
create trigger history_granted after insert on attempt begin
    insert into history (what, name, was, now, extra)
    select 'granted', new.ticket, h.state,
        case when t.generation = r.generation then r.state else 'past this' end, h.short from host h, task t
    join run r on r.id = t.run_id where h.id = new.host_id and t.id = new.task_id; end;
create trigger history_paused after update of state on run
when new.state = 'paused' and new.reason like 'the command seems bad%' begin
    insert into history (what, name, was, now, extra)
    select 'bad', new.name, count(*) filter (where outcome = 'accepted'),
        count(*) filter (where outcome in ('failed', 'rejected')), ''
    from attempt a join task t on t.id = a.task_id and t.generation = new.generation; end;
create trigger history_host after update of state on host when old.state is not new.state begin
    insert into history (what, name, was, now, extra)
    values ('host', new.name, old.state, new.state, new.reason); end;
create trigger history_quarantine after update of state on host
when new.state = 'quarantined' and old.state != 'quarantined' begin
    insert into history (what, name, was, now, extra)
    select 'quarantine', new.name, count(*), '', '' from host where id != new.id
        and state in ('joining', 'probation', 'up', 'suspect'); end;
create trigger history_failed after update of state on task when new.state = 'failed' begin
    insert into history (what, name, was, now, extra)
    select 'failed', new.id, count(*), '', '' from host h
    where h.state in ('joining', 'probation', 'up', 'suspect', 'quarantined')
        and not exists (select 1 from attempt a where a.task_id = new.id and a.host_id = h.id
                        and a.outcome in ('failed', 'rejected')); end;
"""


class Watch:
    """What is checked while the world goes on."""

    def __init__(self, loop: Loop, plan: Plan, connection: Connection) -> None:
        self.loop = loop
        self.plan = plan
        self.checks = Checks(connection)
        self.injected: Counter[str] = Counter()
        self.hosts: list[Host] = []
        self.life: Life | None = None
        self.life_troubled_at = 0.0
        self.ending = False
        self.starts: list[str] = []
        self.acknowledged: dict[str, Acknowledged] = {}
        self.helpless: set[int] = set()  # tasks that failed for their host, with nobody else to ask
        self.rerun: set[int] = set()  # tasks whose result an operator may have asked to forget
        self.first_broken = ""
        self._connection = connection
        self._numbers: dict[str, int] = {}  # incarnation -> newest request that was carried out
        self._untold: dict[str, set[str]] = {}  # incarnation -> what it was not told to end, once
        self._ended: dict[str, Sequence[str]] = {}  # what it said has ended, reported or not
        self._running: dict[str, Sequence[str]] = {}  # ... and what runs
        self._history = 0
        self._sampled = 0  # the history, when it was last looked at as a whole
        self._events = 0
        self._learned: list[tuple[float | None, int]] = [(None, 0)]
        self._probes: Counter[tuple[Life | None, str]] = Counter()  # of hosts in quarantine
        self._since: dict[str, float] = {}  # what is odd -> since when
        self.disk_full = False  # the master's
        self.killed = False  # an operator wants nothing to run
        connection.executescript(TRACE)

    def broken(self, what: str) -> None:
        """Take note that a promise was broken; the world ends at the next event."""
        self.first_broken = self.first_broken or f"{what} (at {self.loop.now - 1000:.3f} s)"

    def note(self, fault: str) -> None:
        """Count a fault."""
        self.injected[fault] += 1

    def started(self, ticket: str) -> None:
        self.starts.append(ticket)

    def answered(self, reports: Iterable[Any], tickets: Sequence[str]) -> None:
        """An agent lets go of these reports: it was told that they are stored."""
        for report in reports:
            if report["ticket"] in tickets:
                self.acknowledged[report["ticket"]] = Acknowledged(
                    report["ticket"], report["ended"], report.get("exit")
                )

    def paused(self, host: Host, failures: int, seconds: float) -> None:
        """After a login that failed the next one comes soon, later only if many have failed."""
        longest_s = 1.5 * BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1] + SLACK_S
        self.checks.count += 1
        if seconds > longest_s and self._is_calm(seconds):
            self.broken(f"{host.name}: {seconds:.0f} s between login {failures} and the next")

    def struck(self, agent: Agent) -> None:
        """An agent had to be ended by force; whoever is well ends when it is told to."""
        host = agent.host
        well = host.is_well and not host.way.flaky and self._is_calm(CALM_S)
        well = well and self.loop.now - host.troubled_at > CALM_S
        self.checks.count += 1
        if well and not agent.dead:
            self.broken(f"{agent.incarnation} did not end when it was told to")

    # ---------------------------------------------------------------- after each commit

    def replied(self, request: Exchange, reply: Reply) -> None:
        """An agent that says twice that it holds what nobody wants is told to end it.

        Once it may be the commit of its exchange that makes it unwanted.
        """
        if request.bye or request.number != self._numbers.get(request.incarnation):
            return
        held = {*request.queued, *(ticket for ticket, _ in request.running)}
        told = {*reply.kill, *reply.drop, *reply.back}
        untold = {ticket for ticket in held - told if self._is_unwanted(ticket)}
        again = sorted(untold & self._untold.get(request.incarnation, set()))
        self._untold[request.incarnation] = untold
        self.checks.count += 1
        if again:
            self.broken(f"{request.incarnation} was not told to end {' '.join(again)}")

    def committed(self, carried_out: Iterable[Sequence[object]]) -> None:
        """Look at what a commit has changed."""
        learned = self._connection.execute(
            "select typical_s, successes from generation order by number desc"
        ).fetchone()
        self._learned = [self._learned[-1], learned]
        try:
            self._check_numbers(carried_out)
            self._check_history()
            self._check_events()
        except BrokenError as error:
            self.broken(str(error))

    def _check_numbers(self, carried_out: Iterable[Sequence[object]]) -> None:
        spoke: dict[str, None] = {}
        for args in carried_out:
            request = args[0] if args else None
            if isinstance(request, Exchange):
                name = request.incarnation
                spoke[name] = None
                if request.number >= self._numbers.get(name, 0):
                    self._numbers[name] = request.number
                    self._ended[name] = request.ended
                    self._running[name] = [ticket for ticket, _ in request.running]
        for name in spoke:
            row = self._connection.execute(
                "select request from agent where incarnation = ? and state not in ('bye', 'ended')",
                (name,),
            ).fetchone()
            if row is not None:
                newest = self._numbers[name]
                self.checks.hold(
                    row[0] == newest, f"request {row[0]} of {name} counts, not {newest}"
                )

    def _check_history(self) -> None:
        rows = self._connection.execute(
            "select id, what, name, was, now, extra from history where id > ? order by id",
            (self._history,),
        ).fetchall()
        granted: set[str] = set()
        for number, what, name, was, now, extra in rows:
            self._history = number
            match what:
                case "task":
                    legal = was == now or now in TASK_STEPS[was]
                    asked = now == "waiting" and int(name) in self.rerun
                    self.checks.hold(legal or asked, f"task {name} went from {was} to {now}")
                    kept = extra == "0" or now == "done" or asked
                    self.checks.hold(kept, f"task {name} lost its result")
                    if now == "parked":
                        self._check_parked(int(name))
                    if now != "failed":
                        self.helpless.discard(int(name))
                case "failed" if was == "0" and self._is_blamed_on_host(name):
                    self.helpless.add(int(name))
                case "attempt":
                    legal = was == now or now in ATTEMPT_STEPS[was]
                    self.checks.hold(legal, f"{name} went from {was} to {now}")
                    if was == "ended" and not self._is_forgotten(name, extra):
                        self.checks.hold(extra == "lost", f"{name} was {extra} and is {now} again")
                        self._check_late(name)
                    if now == "ended":
                        self._check_blame(name)
                        self._check_given_up(name)
                case "leased":
                    granted.add(was)
                    self._check_grant(name)
                case "granted":
                    self._check_place(name, host=was, run=now, short=extra)
                case "bad":
                    self.checks.hold(was == "0", "the command was called bad, and has succeeded")
                    few = f"the command was called bad after {now} failures"
                    self.checks.hold(int(now) >= BAD_COMMAND, few)
                case "host" if now == "probation":
                    self._probes[self.life, name] += 1
                case "quarantine":
                    self.checks.hold(was != "0", f"{name} was quarantined, the last usable host")
                case "host" if now == "suspect" and extra == "nothing is heard of it":
                    self._check_silence_of_host(name)
                case _:
                    pass
        if granted:
            self._check_depth(granted)

    def _check_parked(self, task: int) -> None:
        """A task is kept from all hosts only when several were given up while they ran it."""
        hosts = self._connection.execute(
            "select count(distinct host_id) from attempt where task_id = ? and outcome = 'lost'"
            " and started is not null", (task,)
        ).fetchone()[0]  # fmt: skip
        self.checks.hold(hosts >= KILLED_HOSTS, f"task {task} was parked after {hosts} hosts died")

    def _is_forgotten(self, ticket: str, outcome: str) -> bool:
        """Say whether a result stops counting because an operator wants another."""
        row = self._connection.execute(
            "select t.id, a.outcome from attempt a join task t on t.id = a.task_id"
            " where a.ticket = ?", (ticket,)
        ).fetchone()  # fmt: skip
        return outcome == "accepted" and row[1] == "superseded" and row[0] in self.rerun

    def _check_late(self, ticket: str) -> None:
        """While a late report waits for its judge, its task does not wait for a host."""
        row = self._connection.execute(
            "select t.state from task t join attempt a on a.task_id = t.id and a.epoch = t.epoch"
            " where a.ticket = ? and a.state = 'reported'", (ticket,)
        ).fetchone()  # fmt: skip
        self.checks.hold(row != ("waiting",), f"{ticket} is to be judged while its task waits")

    def _check_place(self, ticket: str, *, host: str, run: str, short: str) -> None:
        """What is handed out is of an open run and goes to a host that may have it."""
        self.checks.hold(run == "open", f"{ticket} was given out of a run that is {run}")
        self.checks.hold(
            host in ("up", "probation"), f"{ticket} was given to a host that is {host}"
        )
        self.checks.hold(not short, f"{ticket} was given to a host without room")
        assert self.life is not None
        (name,) = self._connection.execute(
            "select incarnation from attempt where ticket = ?", (ticket,)
        ).fetchone()
        surplus = name in self.life.surplus
        self.checks.hold(not surplus, f"{ticket} was given to the second agent of a host")

    def _check_grant(self, ticket: str) -> None:
        """A task is not given to a host that has it, given up or not."""
        row = self._connection.execute(
            "select 1 from attempt a join attempt b on b.task_id = a.task_id and b.id != a.id"
            " and b.epoch = a.epoch and b.host_id = a.host_id and b.state in ('leased', 'running')"
            " and a.state = 'leased' where a.ticket = ?", (ticket,)
        ).fetchone()  # fmt: skip
        self.checks.hold(row is None, f"{ticket} was given to a host that had its task")
        rows = self._connection.execute(
            "select b.ticket, b.incarnation from attempt a join attempt b on b.task_id = a.task_id"
            " and b.incarnation = a.incarnation and b.outcome = 'lost' and not b.kill"
            " and b.epoch = a.epoch where a.ticket = ?", (ticket,)
        ).fetchall()  # fmt: skip
        runs = [before for before, name in rows if before in self._running.get(name, ())]
        self.checks.hold(not runs, f"{ticket} was given to a host that still runs {runs}")

    def _check_depth(self, incarnations: set[str]) -> None:
        """What an agent holds after a grant is no more than its slots can be given."""
        successes = self._learned[-1][1]
        deepest = max(placement.depth(typical_s, successes) for typical_s, _ in self._learned)
        for name in sorted(incarnations):
            rows = self._connection.execute(
                "select a.ticket, g.slots from agent g join attempt a on"
                " a.incarnation = g.incarnation and a.state in ('leased', 'running') and not a.kill"
                " join task t on t.id = a.task_id and t.state in ('active', 'waiting')"
                " and t.epoch = a.epoch"
                " where g.incarnation = ?",
                (name,),
            ).fetchall()
            slots = rows[0][1] if rows else 0
            live = sum(ticket not in self._ended.get(name, ()) for ticket, _ in rows)
            most = slots if deepest == 1 else 2 * slots * deepest + slots
            self.checks.hold(live <= most, f"{name} with {slots} slots was given {live} tasks")

    def _check_blame(self, ticket: str) -> None:
        """What a host could not start is not charged to the task while another one can be asked."""
        row = self._connection.execute(
            "select a.kind, a.blame, a.task_id, h.name from attempt a"
            " join host h on h.id = a.host_id where a.ticket = ?", (ticket,)
        ).fetchone()  # fmt: skip
        if row is None or row[0] not in HOST_KINDS or not self.plan.gentle:
            return
        _, blame, task, host = row
        tried = self._connection.execute(
            "select 1 from attempt a join host h on h.id = a.host_id where a.task_id = ?"
            " and h.name = 'h0' and a.outcome in ('failed', 'rejected')", (task,)
        ).fetchone()  # fmt: skip
        if host != "h0" and tried is None:
            self.checks.hold(blame != "task", f"{ticket}: the task is charged for its host")

    def _is_blamed_on_host(self, task: str) -> bool:
        """Say whether the last thing that failed of a task was its host, by what was reported."""
        row = self._connection.execute(
            "select a.kind from attempt a join task t on t.id = a.task_id where t.id = ?"
            " and a.outcome = 'failed' order by a.id desc limit 1", (int(task),)
        ).fetchone()  # fmt: skip
        return row is not None and row[0] in HOST_KINDS

    def _check_given_up(self, ticket: str) -> None:
        """What an agent is said not to have, it has not."""
        row = self._connection.execute(
            "select incarnation, message from attempt where ticket = ?", (ticket,)
        ).fetchone()
        if row is None or row[1] != "the agent does not have it any more":
            return
        agent = self._agent(row[0])
        has = agent is not None and _has(agent, ticket)
        self.checks.hold(not has, f"{ticket} was given up though {row[0]} has it")
        self.checks.hold(ticket not in self.starts, f"{row[0]} forgot {ticket}, which it started")

    def _check_events(self) -> None:
        rows = self._connection.execute(
            "select id, kind, tickets, text from event where id > ? order by id", (self._events,)
        ).fetchall()
        for number, kind, tickets, text in rows:
            self._events = number
            for ticket in json.loads(tickets):
                if kind == "lost":
                    self._check_loss(ticket, text)
                elif kind == "twin" and text.startswith("it takes longer"):
                    self._check_twin(ticket)

    def _check_loss(self, ticket: str, why: str) -> None:
        incarnation = self._connection.execute(
            "select incarnation from attempt where ticket = ?", (ticket,)
        ).fetchone()[0]
        agent = self._agent(incarnation)
        if "nothing was heard" in why:
            self._check_silence(incarnation, LOST_AFTER_S, f"{ticket} was given up")
        elif why in NOTHING_LEFT:
            self.checks.hold(agent is None, f"{ticket} was given up though {incarnation} is there")
        else:
            self.checks.hold(why in OTHER_LOSSES, f"{ticket} was given up: {why}")

    def _check_twin(self, ticket: str) -> None:
        """A task that is simply long does not get twin after twin."""
        twins = self._connection.execute(
            "select count(*) from attempt a join attempt b on b.task_id = a.task_id"
            " and b.epoch = a.epoch and b.number <= a.number and b.reason = 'straggler'"
            " where a.ticket = ?", (ticket,)
        ).fetchone()[0]  # fmt: skip
        self.checks.hold(twins <= MOST_TWINS, f"{ticket} is the {twins}. twin of its task")

    def _check_silence(self, incarnation: str, least_s: float, what: str) -> None:
        """The agent was silent so long while this master was awake."""
        assert self.life is not None
        silent_s = self.life.silent_s(incarnation)
        self.checks.hold(
            self.plan.silence_counts and silent_s >= least_s - SLACK_S,
            f"{what} after {silent_s:.1f} s of silence",
        )

    def _check_silence_of_host(self, host: str) -> None:
        rows = self._connection.execute(
            "select g.incarnation from agent g join host h on h.id = g.host_id"
            " where h.name = ? and g.state != 'ended'", (host,)
        ).fetchall()  # fmt: skip
        assert self.life is not None
        longest = max((self.life.silent_s(row[0]) for row in rows), default=0.0)
        self.checks.hold(
            longest >= SUSPECT_S - SLACK_S, f"{host} is suspect after {longest:.1f} s of silence"
        )

    def _agent(self, incarnation: str) -> Agent | None:
        found = (host.agents.get(incarnation) for host in self.hosts)
        return next((agent for agent in found if agent is not None), None)

    # ---------------------------------------------------------------- every few seconds

    def sample(self) -> None:
        """Look whether anything stands still, or goes on, for too long."""
        self.loop.after(SAMPLE_S, self.sample)
        try:
            if self._history != self._sampled:
                self._sampled = self._history
                self.checks.database()
            self._check_bad_command()
            odd = dict(self._odd()) if self._is_calm(CALM_S) else {}
        except BrokenError as error:
            self.broken(str(error))
            return
        self._since = {what: self._since.get(what, self.loop.now) for what in odd}
        for what, since in self._since.items():
            limit = odd[what]
            self.checks.count += 1
            if self.loop.now - since > limit:
                self.broken(f"for {limit:.0f} s {what}")

    def _is_calm(self, seconds: float) -> bool:
        life = self.life
        quiet = self.loop.now - self.life_troubled_at > seconds
        serves = life is not None and not (life.dead or life.over or life.timeline.frozen)
        return serves and quiet and not self.disk_full

    def _check_bad_command(self) -> None:
        """A run of which everything fails everywhere pauses, and asks what is to become of it."""
        row = self._connection.execute(
            "select r.state, count(*), count(distinct a.host_id) from run r"
            " join task t on t.generation = r.generation"
            " join attempt a on a.task_id = t.id and a.outcome = 'failed' where not r.trusted"
            " and not exists (select 1 from attempt where exit = 0)"
            " and not exists (select 1 from event where kind in ('retried', 'rerun', 'resumed'))"
            " group by a.kind order by 2 desc"
        ).fetchone()
        if row is not None:
            state, failures, hosts = row
            bad = failures >= BAD_COMMAND and hosts >= min(3, len(self.hosts))
            self.checks.hold(state != "open" or not bad, f"{failures} failures, and it goes on")

    def _odd(self) -> Iterable[tuple[str, float]]:
        """Name what must not last, and how long it may."""
        for what in self._unheard():
            yield what, IDLE_S
        yield from self._quarantined()
        for host in self.hosts:
            quiet_s = self.loop.now - host.troubled_at
            if not host.is_well or quiet_s < CALM_S:
                continue
            state, reason = self._connection.execute(
                "select state, reason from host where name = ?", (host.name,)
            ).fetchone() or ("new", "")
            unwanted = sorted(set(self._unwanted(host)))
            if unwanted:
                yield f"{host.name} ran {' '.join(unwanted)}, which nobody wanted", UNWANTED_S
            if self.ending:
                continue
            if state == "up" and self._is_idle(host):
                yield f"{host.name} had a free slot while tasks waited", IDLE_S
            for ticket in self._vanished(host):
                yield f"{host.name} was said to have {ticket}, of which nothing is there", IDLE_S
            is_used = state in ("up", "probation", "quarantined", "joining") or DIES in reason
            if quiet_s > WELL_S and self._is_calm(WELL_S) and not is_used:
                yield f"{host.name} was well, and {state} ({reason})", IDLE_S

    def _quarantined(self) -> Iterable[tuple[str, float]]:
        """List hosts in quarantine: each is tried again, after twice as long each time."""
        rows = self._connection.execute("select name from host where state = 'quarantined'")
        for (name,) in rows.fetchall():
            probes = self._probes[self.life, name]
            limit_s = min(PROBE_LAST_S, PROBE_S * 2**probes) + IDLE_S
            yield f"{name} was in quarantine after {probes} probes", limit_s

    def _unheard(self) -> Iterable[str]:
        """List agents of which nothing has been heard for long that still count as having tasks."""
        assert self.life is not None
        if not self.plan.silence_counts:
            return
        rows = self._connection.execute(
            "select distinct incarnation from attempt where state in ('leased', 'running')"
        ).fetchall()
        for (incarnation,) in rows:
            if self.life.silent_s(incarnation) > UNHEARD_S:
                yield f"{incarnation} was not heard and had tickets"

    def _is_idle(self, host: Host) -> bool:
        """Say whether it has a slot free beside work; what it still runs is none for it.

        What waits on another host for a slot is work, too. One that has not succeeded yet has but one
        slot.
        """
        alive = {process.ticket for process in host.alive.values()}
        runs = [int(ticket.split("-")[2]) for ticket in alive]
        others = [
            one.name
            for one in self.hosts
            if one is not host and one.is_well and self.loop.now - one.troubled_at > CALM_S
        ]
        row = self._connection.execute(
            "select (select count(*) from attempt a where a.host_id = h.id"
            " and a.state in ('leased', 'running')),"
            " (select count(*) from task t join run r on r.id = t.run_id where r.state = 'open'"
            " and (t.state = 'waiting' or exists (select 1 from attempt a join host o"
            " on o.id = a.host_id and o.name in (select value from json_each(?3))"
            " where a.task_id = t.id and a.state = 'leased'))"
            " and t.number not in (select value from json_each(?2))"
            " and not exists (select 1 from attempt a"
            " where a.task_id = t.id and a.host_id = h.id and a.outcome in ('failed', 'rejected'))),"
            " (select max(1, 2 * successes) from host_run u where u.host_id = h.id)"
            " from host h where h.name = ?1",
            (host.name, json.dumps(runs), json.dumps(others)),
        ).fetchone()
        has, waiting, proven = row
        return bool(max(has, len(alive)) < min(host.manner.slots, proven) and waiting)

    def _vanished(self, host: Host) -> Iterable[str]:
        """List what the host is said to have, though it neither runs nor waits there any more."""
        alive = {process.ticket for process in host.alive.values()}
        rows = self._connection.execute(
            "select a.ticket, a.incarnation from attempt a join host h on h.id = a.host_id"
            " where h.name = ? and a.state in ('leased', 'running')", (host.name,)
        ).fetchall()  # fmt: skip
        for ticket, incarnation in rows:
            agent = host.agents.get(incarnation)
            waits = agent is not None and agent.supervisor and ticket in agent.supervisor.queue
            if ticket not in alive and not waits:
                yield ticket

    def _unwanted(self, host: Host) -> Iterable[str]:
        """List what runs there for nobody."""
        return (one.ticket for one in host.alive.values() if self._is_unwanted(one.ticket))

    def _is_unwanted(self, ticket: str) -> bool:
        row = self._connection.execute(
            "select a.outcome, t.state, a.kill or a.epoch < t.epoch"
            " or t.generation < r.generation, r.state from attempt a"
            " join task t on t.id = a.task_id join run r on r.id = t.run_id where a.ticket = ?",
            (ticket,),
        ).fetchone()
        if row is None:
            return True
        outcome, state, kill, run = row
        kill = kill or (self.killed and run == "halted")
        return bool(kill) or state in ("done", "cancelled") or outcome not in (None, "lost")


def _has(agent: Agent, ticket: str) -> bool:
    """Say whether one of an agent's processes knows of a ticket."""
    link, supervisor = agent.link, agent.supervisor
    of_link = link is not None and any(
        ticket in held for held in (link.fetching, link.queued, link.running, link.ended)
    )
    return of_link or (
        supervisor is not None
        and any(ticket in held for held in (supervisor.queue, supervisor.tasks, supervisor.ended))
    )
