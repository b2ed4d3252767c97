"""Bugs that are planted at test time, to see that the simulation finds each.

A bug is a function that patches the real code for as long as a world runs.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import msgspec

from corral import agent
from corral.engine import exchange, judge, recall, upkeep
from corral.fleet.base import LaunchError
from corral.master import farm
from corral.master.exchanges import Exchanges
from corral.master.farm import Farm
from corral.master.hostkeeper import HostKeeper
from corral.master.master import Master
from corral.scheduler import health, lease, retry
from corral.scheduler.retry import Decision
from corral.server.agents import AgentChannel
from corral.store.sqlite import SqliteReader, SqliteStore, SqliteTx
from tests.simulation.run import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.simulation.run import Outcome

PATIENCE_S = 60.0  # of CPU time, for the search of one


class Found(NamedTuple):
    """A seed that shows a bug."""

    seed: int
    broken: str
    cpu_s: float


def search(bug: str) -> Found | None:
    """Try seeds until one shows the bug; None if none does in a CPU-minute."""
    began = time.process_time()
    seed = 0
    while time.process_time() - began < PATIENCE_S:
        seed += 1
        outcome = simulate_with(bug, seed)
        if outcome.broken:
            return Found(seed, outcome.broken, time.process_time() - began)
    return None


def simulate_with(bug: str, seed: int) -> Outcome:
    """Run the world of a seed with a bug in it."""
    with plant(bug):
        return simulate(seed)


@contextmanager
def plant(bug: str) -> Iterator[None]:
    """Have a bug for a while."""
    owner, name, make = BUGS[bug]
    with mock.patch.object(owner, name, make(getattr(owner, name))):
        yield


def _with_query(name: str, changed: Callable[[str], str]) -> Callable[[Any], Any]:
    """Make a transaction carry out another text for one query."""

    def make(change: Any) -> Any:
        def planted(self: SqliteTx, query: str, *values: object) -> int:
            if query == name:
                text = changed(self._queries[query])
                assert text != self._queries[query], "the query is not what it was"
                return self.connection.execute(text, values).rowcount
            count: int = change(self, query, *values)
            return count

        return planted

    return make


def _with_rows(name: str, changed: Callable[[str], str]) -> Callable[[Any], Any]:
    """Make a transaction read by another text for one query."""

    def make(rows: Any) -> Any:
        def planted(self: SqliteReader, query: str, *values: object) -> Any:
            if query != name:
                return rows(self, query, *values)
            text = changed(self._queries[query])
            assert text != self._queries[query], "the query is not what it was"
            return self.connection.execute(text, values).fetchall()

        return planted

    return make


def _accept_twice(accept: Any) -> Any:
    """A later result takes the place of the one that was accepted."""

    def planted(tx: Any, known: Any, now: float) -> Any:
        if known.task_state == "done":
            tx.connection.execute(
                "update attempt set outcome = 'superseded' where task_id = ?"
                " and outcome = 'accepted'", (known.task,)
            )  # fmt: skip
            tx.connection.execute(
                "update task set accepted = ? where id = ?", (known.id, known.task)
            )
            tx.change("attempt_end", known.id, "accepted", None, None, now)
            return True
        return accept(tx, known, now)

    return planted


def _grant_twice(exchange_: Any) -> Any:
    """A repeated request is granted a second time."""

    def planted(tx: Any, request: Any, parts: Any, now: float) -> Any:
        agent_row = tx.row("agent_get", request.incarnation)
        reply = exchange_(tx, request, parts, now)
        if agent_row is not None and agent_row[3] == request.number and not request.bye:
            known = exchange._agent(tx, request.incarnation)
            if known is not None:
                exchange._grant(tx, known, request.number, 0, parts, now)
        return reply

    return planted


def _expire_on_restart(adopt: Any) -> Any:
    """A new master gives up whatever is under way."""

    def planted(self: Any) -> None:
        adopt(self)
        with self._store.reader() as reader:
            agents = reader.rows("agents_live")
        for row in agents:
            self._store.write(
                upkeep.lose_agent, row[0], why="nothing was heard of its host for too long",
                now=self._clock.now(),
            )  # fmt: skip

    return planted


def _count_suspended(tick: Any) -> Any:
    """A master's standing still counts as silence."""

    def planted(self: Any, passed_s: float) -> float:
        if passed_s > 2 * self.hold_s and not self._in_hand:
            self._silent_s += passed_s
        counted: float = tick(self, passed_s)
        return counted

    return planted


def _lose_kill_list(reply: Any) -> Any:
    def planted(*args: Any, **kwargs: Any) -> Any:
        return msgspec.structs.replace(reply(*args, **kwargs), kill=(), drop=())

    return planted


def _charge_the_task(decide: Any) -> Any:
    def planted(failure: Any) -> Decision:
        decided = decide(failure)
        again = decided.again and failure.charged + 1 <= retry._allowed(failure)
        return Decision(blame="task", again=again)

    return planted


def _free_early(_: Any) -> Any:
    """A slot is free as soon as the task's own process has ended."""

    def planted(self: Any, task: Any) -> bool:
        del self, task
        return False

    return planted


def _answer_first(_: Any) -> Any:
    """Whoever waits is answered while the commit is still on its way."""

    def planted(self: Any, group: list[Any]) -> None:
        tx = SqliteTx(self._connection)
        self._connection.execute("begin immediate")
        for work in group:
            work.run(tx)
            work.answer()
        self._connection.execute("commit")
        if tx.topics:
            for listener in self._listeners:
                listener(frozenset(tx.topics))

    return planted


def _drop_the_last(settle: Any) -> Any:
    """Of several reports in one request the last is answered and not stored."""

    def planted(tx: Any, fresh: Any, parts: Any, now: float) -> None:
        settle(tx, fresh[:-1] if len(fresh) > 1 else fresh, parts, now)

    return planted


def _wipe_the_spool(leave: Any) -> Any:
    """An agent that nobody came back for takes its unreported results with it."""

    def planted(self: Any, now: float) -> Any:
        due = leave(self, now)
        if self.over == "keep":
            self.over = "remove"
        return due

    return planted


def _note_nothing(take_ends: Any) -> Any:
    """The supervisor is told that ends are on disk, and may forget them, when they are not."""

    def planted(self: Any, records: Any) -> None:
        with mock.patch.object(self.disk, "write_journal", return_value=None):
            take_ends(self, records)

    return planted


def _never_lost(standing: Any) -> Any:
    """A host of which nothing is heard is waited for."""

    def planted(self: Any, **silence: float) -> Any:
        judged = standing(self, **silence)
        return "suspect" if judged == "lost" else judged

    return planted


def _start_again(on_port_closed: Any) -> Any:
    """Starts that the dead supervisor noted and had not told are made once more."""

    def planted(self: Any) -> None:
        with mock.patch.object(self.disk, "started", set[str]):
            on_port_closed(self)

    return planted


def _forget_unsaid(obey: Any) -> Any:
    """An agent forgets all that has ended as soon as anything is answered."""

    def planted(self: Any, sent: Any, reply: Any) -> None:
        obey(self, sent, {**reply, "answered": list(self.ended)})

    return planted


def _lose_at_once(_: Any) -> Any:
    """A host of which nothing is heard for a moment is given up."""

    def planted(tx: Any, incarnation: Any, *, why: str) -> None:
        upkeep.lose_agent(tx, incarnation, why=why, now=1e9)

    return planted


def _bury_the_unreached(reach: Any) -> Any:
    """A host that cannot be reached has no agent any more."""

    async def planted(self: Any, kept: Any) -> Any:
        try:
            return await reach(self, kept)
        except LaunchError:
            if not kept.started:
                raise
            return None

    return planted


def _leave_the_collection(reach: Any) -> Any:
    """A dead agent's second life is started, and nobody waits for what it brings."""

    async def planted(self: Any, kept: Any) -> Any:
        channel = await reach(self, kept)
        return None if channel is not None and channel.collects else channel

    return planted


def _kill_nothing_that_runs(kill: Any) -> Any:
    """A supervisor that is told to kill only takes back what waits."""

    def planted(self: Any, ticket: str, grace_s: float | None = None) -> None:
        if ticket not in self.tasks:
            kill(self, ticket, grace_s)

    return planted


def _ask_only(_: Any) -> Any:
    """What does not end by SIGTERM is left to itself."""

    def planted(self: Any, task: Any, now: float) -> None:
        del self, now
        task.phase = "killing"
        task.due = None
        task.give_up_at = float("inf")

    return planted


def _strike_all(forget: Any) -> Any:
    """What is answered takes with it whatever else is noted on the disk."""

    def planted(self: Any, tickets: Any) -> bool:
        strike = self.disk.strike
        with mock.patch.object(self.disk, "strike", lambda answered, _: strike(answered, True)):
            known: bool = forget(self, tickets)
        return known

    return planted


def _forget_what_is_kept(compare: Any) -> Any:
    """An agent that was given up and is back may be given once more what it still runs."""

    def planted(tx: Any, agent_of: Any, request: Any, parts: Any, now: float) -> Any:
        compared = compare(tx, agent_of, request, parts, now)
        parts.kept.pop(agent_of.incarnation, None)
        return compared

    return planted


def _lose_the_last_end(take_ends: Any) -> Any:
    """Of several attempts that the supervisor says have ended the link misses the last."""

    def planted(self: Any, records: Any) -> None:
        ends = list(records)
        take_ends(self, ends[:-1] if len(ends) > 1 else ends)

    return planted


def _leave_early(_: Any) -> Any:
    """An agent says goodbye while reports are still to be answered."""

    def planted(self: Any) -> bool:
        return bool(self.stop) and not (self.fetching or self.queued or self.running)

    return planted


def _count_it_all(_: Any) -> Any:
    """A tick of the master counts for as long as it took, not two beats at most."""

    def planted(self: Any, passed_s: float) -> float:
        self._silent_s = 0.0 if self._in_hand else self._silent_s + passed_s
        silent_s: float = self._silent_s
        return silent_s

    return planted


def _leave_out_twins(reply: Any) -> Any:
    """Who runs what another has done is not told so."""

    def planted(*args: Any, **kwargs: Any) -> Any:
        return msgspec.structs.replace(reply(*args, **kwargs), drop=())

    return planted


def _forget_what_was_sent(compose: Any) -> Any:
    """A report that has been sent counts as answered."""

    def planted(self: Any, now: float) -> Any:
        sent = compose(self, now)
        for ticket in list(self.ready):
            for kept in (self.ended, self.ready):
                del kept[ticket]
            self.unsent.discard(ticket)
        return sent

    return planted


def _trust_the_sick(grant: Any) -> Any:
    """A host in quarantine is given tasks like any other."""

    def planted(tx: Any, agent_of: Any, *args: Any) -> Any:
        if agent_of.host_state == "quarantined":
            agent_of = msgspec.structs.replace(agent_of, host_state="up")
        return grant(tx, agent_of, *args)

    return planted


def _hold_nothing(tell: Any) -> Any:
    """A supervisor is not told that no master is there."""

    def planted(self: Any, message: Any) -> None:
        tell(self, {**message, "hold": False} if "hold" in message else message)

    return planted


def _blame_the_command(bad_command: Any) -> Any:
    """Whatever has succeeded, a few failures alike pause a run."""

    def planted(failures: Any, *, successes: int, usable_hosts: int) -> Any:
        with mock.patch.object(health, "BAD_COMMAND", 3):
            return bad_command(failures, successes=0 * successes, usable_hosts=usable_hosts)

    return planted


def _begin_anew(give_back: Any) -> Any:
    """What came back is as if it had never been started."""

    def planted(tx: Any, known: Any, **kwargs: Any) -> None:
        give_back(tx, known, **kwargs)
        tx.connection.execute(
            "update task set next_reason = 'first' where id = ? and state = 'waiting'",
            (known.task,),
        )

    return planted


def _charge_what_is_lost(lose: Any) -> Any:
    def planted(tx: Any, known: Any, **kwargs: Any) -> None:
        lose(tx, known, **kwargs)
        tx.change("task_charge", known.task, 1)

    return planted


def _meet_without_ends(meet: Any) -> Any:
    """A new link does not take over what ended while there was none."""

    def planted(self: Any, table: Any) -> None:
        meet(self, {**table, "ended": []})

    return planted


def _forget_what_was_told(send: Any) -> Any:
    """A supervisor does not wait until the link has ends on its disk."""

    def planted(self: Any, message: Any) -> None:
        send(self, message)
        for record in (message or {}).get("ended", ()):
            self.ended.pop(record["report"]["ticket"], None)

    return planted


def _answer_all(take_reports: Any) -> Any:
    """Whatever has ended counts as reported."""

    def planted(tx: Any, agent_of: Any, request: Any, parts: Any, now: float) -> Any:
        take_reports(tx, agent_of, request, parts, now)
        return tuple(request.ended)

    return planted


def _park_early(park: Any) -> Any:
    """A task is kept from all hosts when it was running on one that died."""

    def planted(*args: Any) -> None:
        with mock.patch.object(health, "KILLED_HOSTS", 1):
            park(*args)

    return planted


def _spare_orphans(slay: Any) -> Any:
    """A link does not kill what its dead supervisor had started."""

    def planted(processes: Any, find: Any) -> Any:
        is_link = isinstance(getattr(find, "__self__", None), agent.Link)
        return set() if is_link else slay(processes, find)

    return planted


def _stay_for_ever(watch_master: Any) -> Any:
    """An agent waits for a master without end."""

    def planted(self: Any, now: float) -> Any:
        with mock.patch.object(self.config, "linger_s", 1e9):
            return watch_master(self, now)

    return planted


def _never_forgive(serve: Any) -> Any:
    """A host that was reached is waited for as long as if it had not been."""

    async def planted(self: Any) -> None:
        failures = self._failures
        try:
            await serve(self)
        finally:
            self._failures = max(failures, self._failures)

    return planted


def _count_all_epochs(_: Any) -> Any:
    """A result from before a rerun counts."""

    def planted(self: Any) -> bool:
        return bool(self.task_state in ("waiting", "active", "failed"))

    return property(planted)


def _expect_anew(_: Any) -> Any:
    """What an agent has said before it is expected does not count."""

    def planted(self: Any, incarnation: Any, *, lends: bool) -> None:
        del lends  # what is lent is no matter of silence
        self._silences[incarnation] = self._new_silence()

    return planted


BUGS: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "accept twice": (judge, "accept", _accept_twice),
    "grant twice for one request": (exchange, "exchange", _grant_twice),
    "forget the request number": (
        SqliteTx, "change", _with_query("agent_number", lambda text: text.replace("request = ?2,", "")),
    ),
    "expire leases on restart": (Farm, "adopt", _expire_on_restart),
    "count suspended time": (lease.Silence, "tick", _count_suspended),
    "skip the fence": (
        SqliteTx, "change",
        _with_query("agent_number", lambda text: text.replace("request < ?2", "request != ?2")),
    ),
    "lose the kill list": (exchange, "_reply", _lose_kill_list),
    "charge the host's fault to the task": (retry, "decide", _charge_the_task),
    "free a slot before the tree is dead": (agent.Supervisor, "_adopt_doomed", _free_early),
    "answer before the commit": (SqliteStore, "_commit", _answer_first),
    "drop the last report of a batch": (exchange, "_settle", _drop_the_last),
    "wipe an unreported spool": (agent.Link, "_leave", _wipe_the_spool),
    "a dead agent's work is forgotten": (upkeep, "lose_all", lambda _: lambda *__, **___: None),
    "say that an end is on disk when it is not": (agent.Link, "_take_ends", _note_nothing),
    "start what a dead supervisor had started": (agent.Link, "on_port_closed", _start_again),
    "miss what was said before a login": (Exchanges, "expect", _expect_anew),
    "never give up a lost host": (lease.Terms, "standing", _never_lost),
    "resume without the agents that run": (Farm, "adopt", lambda _: lambda *__: None),
    "forget what was not answered": (agent.Link, "_obey", _forget_unsaid),
    "bury who cannot be reached": (HostKeeper, "_reach", _bury_the_unreached),
    "lose a suspect at once": (upkeep, "suspect_agent", _lose_at_once),
    "leave a dead agent's spool": (HostKeeper, "_reach", _leave_the_collection),
    "take a report as often as it comes": (exchange, "_open", lambda _: lambda _: True),
    "a request is always in hand": (lease.Silence, "asked", lambda _: lambda _: None),
    "a report counts without its files": (AgentChannel, "_land", lambda _: lambda _, request: request),
    "end a run that has active tasks": (
        SqliteTx, "change",
        _with_query("run_finish", lambda text: text.replace("('waiting', 'active')", "('waiting')")),
    ),
    "twin on the same host": (
        SqliteReader, "rows",
        _with_rows("tasks_late", lambda text: text.replace("and a.host_id != ?2", "")),
    ),
    "count retries twice": (
        SqliteTx, "change", _with_query("task_wait", lambda text: text.replace("?3", "2 * ?3")),
    ),
    "hand out of a halted run": (
        SqliteReader, "rows",
        _with_rows("runs_waiting", lambda text: text.replace("r.state = 'open'", "r.state != 'done'")),
    ),
    "hand out a done task again": (
        SqliteTx, "change",
        _with_query("task_wait", lambda text: text.replace("state = 'active'", "state != 'failed'")),
    ),
    "the agent ignores kill": (agent.Supervisor, "_kill", _kill_nothing_that_runs),
    "the supervisor never kills": (agent.Supervisor, "_begin_killing", _ask_only),
    "quarantine the last host": (
        health, "sick", lambda sick: lambda record, **_: sick(record, usable_hosts=2),
    ),
    "a late report leaves its task waiting": (
        SqliteTx, "change",
        _with_query("task_active", lambda text: text.replace("state = 'active'", "state = 'waiting'")),
    ),
    "strike out what is not answered": (agent.Link, "_forget", _strike_all),
    "ask no host to give back": (recall, "recall", lambda _: lambda *__, **___: 0),
    "give nothing back": (agent.Link, "_give_back", lambda _: lambda *__: False),
    "forget what an agent kept": (exchange, "_compare", _forget_what_is_kept),
    "miss the last end of a batch": (agent.Link, "_take_ends", _lose_the_last_end),
    "say goodbye with unanswered reports": (agent.Link, "_may_say_bye", _leave_early),
    "count a long tick in full": (lease.Silence, "tick", _count_it_all),
    "look at silence too rarely": (farm, "TICK_S", lambda _: 30.0),
    "leave twins out of the kill list": (exchange, "_reply", _leave_out_twins),
    "forget what was sent": (agent.Link, "_compose", _forget_what_was_sent),
    "refuse a late report": (
        exchange, "_open", lambda _: lambda attempt: attempt.state in ("leased", "running"),
    ),
    "try a failed task on the same host": (
        SqliteReader, "rows", _with_rows("tasks_waiting", lambda text: text.replace("t.attempts = 0", "1")),
    ),
    "twin what another host has": (
        SqliteReader, "rows",
        _with_rows("tasks_silent", lambda text: text.replace("and h.state != 'suspect'", "and 0")),
    ),
    "let a second agent be": (HostKeeper, "retire", lambda _: lambda _: None),
    "hand out to a quarantined host": (exchange, "_grant", _trust_the_sick),
    "start without a master": (agent.Link, "_tell", _hold_nothing),
    "wait for a master for ever": (agent.Link, "_watch_master", _stay_for_ever),
    "end no quarantine": (farm.Probe, "due", lambda _: lambda *_: False),
    "call a good command bad": (health, "bad_command", _blame_the_command),
    "call no command bad": (health, "bad_command", lambda _: lambda *_, **__: None),
    "what came back was never begun": (judge, "give_back", _begin_anew),
    "charge what is lost": (judge, "lose", _charge_what_is_lost),
    "park at the first death": (upkeep, "_park_if_it_kills", _park_early),
    "a new link misses what ended": (agent.Link, "_meet", _meet_without_ends),
    "the supervisor forgets what it told": (agent.Supervisor, "_send", _forget_what_was_told),
    "answer what was not reported": (exchange, "_take_reports", _answer_all),
    "a dead supervisor's tasks live on": (agent, "slay", _spare_orphans),
    "never forgive a refused login": (HostKeeper, "_serve", _never_forgive),
    "a halt kills nothing": (
        SqliteTx, "change",
        _with_query("attempts_kill_of_run", lambda text: text.replace("kill = 1", "kill = kill")),
    ),
    "a rerun leaves older attempts their epoch": (
        SqliteTx, "change",
        _with_query("tasks_rerun", lambda text: text.replace("epoch = epoch + 1,", "")),
    ),
    "accept from before a rerun": (judge.Known, "counts", _count_all_epochs),
    "sweep no parts of files": (Master, "_sweep_parts", lambda _: lambda _: None),
    "hand out what is of an older generation": (
        SqliteTx, "change",
        _with_query("generation_retire", lambda text: text.replace("generation < ?2", "generation < 0 * ?2")),
    ),
    "start without what is shipped": (agent.Link, "_lacks", lambda _: lambda *_: {}),
}  # fmt: skip
