"""One exchange with an agent: what it says is stored, what it shall do is answered.

The transaction of exchange *n* first makes *n* the newest number of the incarnation; a grant is
written only while it still is. The reply is always rebuilt from rows, so a repeated request gets
the same one.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from corral.agent import STOPPING
from corral.engine import events, judge, needs, recall, upkeep
from corral.engine.judge import Known
from corral.engine.needs import Stock
from corral.engine.parts import Parts, lease
from corral.ids import HostId, Incarnation, RunId, run_of, ticket
from corral.model.base import Frozen
from corral.protocol import PROTOCOL, RESULT, Exchange, Refusal, Reply, Report
from corral.scheduler import health, placement
from corral.scheduler.stragglers import LEARN, MOST_TWINS, SHORTEST_S, late_after_s, may_help

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from corral.engine.parts import Part
    from corral.model.run import ExitMeaning
    from corral.store.base import Row, Tx


class AgentOf(Frozen, frozen=True, kw_only=True):
    """The agent an exchange comes from, as its row has it."""

    incarnation: Incarnation
    host: HostId
    host_name: str
    request: int
    slots: int  # tasks at once; 0 until it has said how many cores it has
    fixed_slots: bool  # the user gave the host's slots
    host_state: str
    short: str  # why the host starts nothing for now; "" = it does


class Unwanted(Frozen, frozen=True, kw_only=True):
    """Tickets that an agent is to end, those to end at once, those to give back if not started."""

    kill: tuple[str, ...]
    drop: tuple[str, ...]
    back: tuple[str, ...]


def exchange(tx: Tx, request: Exchange, parts: Parts, now: float) -> Reply | Refusal:
    """Take in what the agent says and answer it, with leases if it wants any.

    Returns a `Refusal` with ``gone`` to an agent that is not wanted any more.
    """
    agent = _agent(tx, request.incarnation)
    if agent is None:
        return Refusal(error="this agent is not known here, or has ended", gone=True)
    if request.facts is not None and request.facts.protocol != PROTOCOL:
        return Refusal(error=f"protocol {request.facts.protocol}, not {PROTOCOL}", gone=True)
    repeated = request.number == agent.request
    if not repeated and not tx.change("agent_number", agent.incarnation, request.number):
        return Reply(number=request.number)  # an older one that came late: nobody reads this
    agent = _heard(tx, agent, request, parts)
    tx.change_each(
        "attempt_progress", [(name, agent.incarnation, line) for name, line in request.progress]
    )
    answered = _take_reports(tx, agent, request, parts, now)
    if answered:  # what was reported may have put its host into quarantine, or out of probation
        agent = _agent(tx, request.incarnation) or agent
    unwanted, held = _compare(tx, agent, request, parts, now)
    parts.hear(request)
    if request.collects or any(report.message == STOPPING for report in request.reports):
        parts.retiring.add(agent.incarnation)
    if request.bye:
        _goodbye(tx, agent, parts, now)
        return Reply(number=request.number, answered=answered)
    leaving = not (request.want or request.queued or request.running)
    if not leaving and (not repeated or not tx.rows("leases", agent.incarnation, request.number)):
        # a repeated one that was granted nothing may be granted now: it still is the newest
        agent = _grant(tx, agent, request.number, held, parts, now)
    return _reply(
        tx, agent, request.number, parts, answered=answered, unwanted=unwanted, holds=held > 0
    )


def grant(tx: Tx, incarnation: Incarnation, number: int, parts: Parts, now: float) -> Reply | None:
    """Try again for an exchange that is held; None if a newer one counts by now."""
    agent = _agent(tx, incarnation)
    if agent is None or agent.request != number:
        return None
    live = tx.rows("attempts_live", incarnation)
    recalled = parts.recalled.get(incarnation, ())
    unwanted = Unwanted(
        kill=tuple(row[0] for row in live if not row[4] and not row[6]),
        drop=tuple(row[0] for row in live if not row[4] and row[6]),
        back=tuple(
            row[0]
            for row in live
            if row[4] and row[2] == "leased" and (not row[5] or row[0] in recalled)
        ),
    )
    agent = _grant(tx, agent, number, len(live), parts, now)
    return _reply(tx, agent, number, parts, answered=(), unwanted=unwanted, holds=bool(live))


# ------------------------------------------------------------------- what the agent says


def _agent(tx: Tx, incarnation: str) -> AgentOf | None:
    row = tx.row("agent_get", incarnation)
    if row is None or row[2] in ("bye", "ended"):
        return None
    host, name, _, request, slots, host_state, _, given_slots, short = row
    return AgentOf(
        incarnation=Incarnation(incarnation),
        host=host,
        host_name=name,
        request=request,
        slots=slots,
        fixed_slots=given_slots is not None,
        host_state=host_state,
        short=short,
    )


def _heard(tx: Tx, agent: AgentOf, request: Exchange, parts: Parts) -> AgentOf:
    """Any word from a host that was given up, or never heard of, makes it usable."""
    facts = request.facts
    if request.short != agent.short:
        tx.change("host_short", agent.host, request.short)
        tx.tell("host")
        agent = msgspec.structs.replace(agent, short=request.short)
    if facts is not None:
        tx.change("host_facts", agent.host, msgspec.json.encode(facts).decode())
        needs.refit(tx, agent.host, parts)
        if not agent.slots:
            tx.change("agent_slots", agent.incarnation, facts.cores)
            tx.change("host_slots", agent.host, facts.cores)
            agent = msgspec.structs.replace(agent, slots=facts.cores)
    if agent.host_state not in ("new", "joining", "suspect", "lost", "unreachable", "gone"):
        return agent
    tx.change("host_set", agent.host, "up", "")
    tx.change("host_unclean", agent.host, "")  # a master has it again
    tx.tell("host")
    return msgspec.structs.replace(agent, host_state="up")


def _take_reports(
    tx: Tx, agent: AgentOf, request: Exchange, parts: Parts, now: float
) -> tuple[str, ...]:
    """Store the reports; gives the tickets that the agent may forget.

    A report is idempotent by (ticket, digest): one that is known already is only answered again.
    """
    tickets = {report.ticket for report in request.reports} | set(request.ended)
    if not tickets:
        return ()
    known = {
        row[0]: Known._make(row) for row in tx.rows("attempts_known", json.dumps(sorted(tickets)))
    }
    fresh: list[tuple[Known, Report]] = []
    for report in request.reports:
        attempt = known.get(report.ticket)
        if attempt is None:
            continue  # its run was removed: nothing to keep
        if attempt.incarnation != agent.incarnation:
            _refuse(tx, agent, report, "the ticket was given to another agent", now)
        elif _open(attempt):
            fresh.append((attempt, report))
        elif attempt.digest is not None and attempt.digest != report.digest:
            _refuse(tx, agent, report, "another report of this ticket came before", now)
    _settle(tx, fresh, parts, now)
    reported = {report.ticket for report in request.reports}
    return tuple(
        name
        for name in sorted(tickets)
        if name in reported or name not in known or not _open(known[name])
    )


def _open(attempt: Known) -> bool:
    return attempt.state in ("leased", "running") or attempt.outcome == "lost"


def _refuse(tx: Tx, agent: AgentOf, report: Report, why: str, now: float) -> None:
    events.add(tx, now, "refused", host=agent.host_name, tickets=[report.ticket], text=why)


def _settle(tx: Tx, fresh: Sequence[tuple[Known, Report]], parts: Parts, now: float) -> None:
    """Write what the reports say; plain successes go through multi-row statements."""
    if not fresh:
        return
    _keep_output(tx, fresh)
    quick: list[tuple[Known, Report]] = []
    times = Counter(attempt.task for attempt, _ in fresh)
    shapes = {
        key: parts.get(tx, *key)
        for key in {(attempt.run, attempt.generation) for attempt, _ in fresh}
    }
    for attempt, report in fresh:
        part = shapes[attempt.run, attempt.generation]
        checked = part.checked
        plain = report.ended == "exited" and report.exit == 0 and not checked
        alone = times[attempt.task] == 1
        if plain and alone and attempt.counts and attempt.state != "ended":
            quick.append((attempt, report))
            continue
        row = None if alone else tx.row("attempt_known", attempt.id)  # as the one before left it
        _settle_one(tx, attempt if row is None else Known._make(row), report, part, now=now)
    _accept_all(tx, quick, now)
    _learn(tx, [(attempt, report) for attempt, report in fresh if report.exit == 0], parts)
    for run in {attempt.run for attempt, _ in fresh}:
        judge.finish_run(tx, run, now)


def _keep_output(tx: Tx, fresh: Iterable[tuple[Known, Report]]) -> None:
    tx.change_each(
        "output_put",
        [
            (attempt.id, report.stdout.inline, report.stdout.size, report.stdout.sha256,
             report.stderr.inline, report.stderr.size, report.stderr.sha256, report.result[:RESULT])
            for attempt, report in fresh
            if report.stdout.size or report.stderr.size or report.result
        ],
    )  # fmt: skip
    tx.change_each(
        "file_put",
        [
            (attempt.id, file.n, file.name, file.size, file.sha256, file.mode)
            for attempt, report in fresh
            for file in report.files
        ],
    )


def _settle_one(tx: Tx, attempt: Known, report: Report, part: Part, *, now: float) -> None:
    if attempt.outcome == "lost":
        events.add(
            tx, now, "late", run=attempt.run, name=attempt.run_name, tickets=[attempt.ticket]
        )
        tx.change("task_active", attempt.task, attempt.epoch)
    kind = _kind(report)
    tx.change(
        "attempt_report", attempt.id, report.digest, report.slot, report.exit, report.signal,
        kind, report.message, report.started or None, now, report.seconds, report.cpu_s,
        report.peak_kb,
    )  # fmt: skip
    match report.ended:
        case "returned":
            judge.give_back(tx, attempt, message=report.message, now=now)
        case "killed":
            judge.killed(tx, attempt, message=report.message, now=now)
        case "exited" | "failed":
            if kind is not None:
                _settle_failure(tx, attempt, report, kind, _meaning(report, part), now=now)
            elif part.checked:
                tx.tell("judge")
            else:
                judge.accept(tx, attempt, now)


def _settle_failure(
    tx: Tx,
    attempt: Known,
    report: Report,
    kind: str,
    meaning: ExitMeaning | None,
    *,
    now: float,
) -> None:
    """Do what the exit code says: most say no more than that the attempt failed."""
    said = f"exit {report.exit}: {meaning}"
    match meaning:
        case "again":
            judge.put_back(tx, attempt, message=said, now=now)
        case "skip":
            judge.skip(tx, attempt, message=said, now=now)
        case "fatal":
            judge.fail(tx, attempt, kind="exit", message=said, now=now, fatal=True)
        case None:
            judge.fail(tx, attempt, kind=kind, message=_why(report, kind), now=now)


def _meaning(report: Report, part: Part) -> ExitMeaning | None:
    """Say what the user wants an exit code to mean; a signal or a timeout has none."""
    if report.exit is None or report.signal is not None or report.kind not in ("", "spawn"):
        return None
    return part.options.exit_codes.get(report.exit)


def _kind(report: Report) -> str | None:
    """Name the kind of failure; None for a success."""
    if report.ended == "failed":
        return report.kind or "env"
    if report.ended == "exited" and report.exit != 0:
        return "exit" if report.signal is None else "signal"
    return None


def _why(report: Report, kind: str) -> str:
    if report.message and kind != "exit":
        return report.message
    return f"exit {report.exit}" if kind == "exit" else f"{kind}"


def _accept_all(tx: Tx, quick: Sequence[tuple[Known, Report]], now: float) -> None:
    """Accept the plain successes of one exchange: the hot path."""
    if not quick:
        return
    accepted = tx.change_each(
        "attempt_accept",
        [
            (attempt.id, report.digest, report.slot, report.exit, report.message,
             report.started or None, now, report.seconds, report.cpu_s, report.peak_kb)
            for attempt, report in quick
        ],
    )  # fmt: skip
    done = tx.change_each(
        "task_accept", [(attempt.task, attempt.id, attempt.epoch) for attempt, _ in quick]
    )
    assert accepted == done == len(quick), (
        "rows changed between reading and writing one transaction"
    )
    by_host: dict[tuple[int, int], int] = {}
    for attempt, _ in quick:
        by_host[attempt.host, attempt.run] = by_host.get((attempt.host, attempt.run), 0) + 1
        if attempt.number > 1 and tx.value("attempts_live_of_task", attempt.task, attempt.id):
            tx.tell("work")  # a twin is to be killed
    for (host, run), times in by_host.items():
        tx.change("host_run_success", host, run, times)
        tx.change("host_prove", host)
    tx.tell("progress")


def _learn(tx: Tx, successes: Iterable[tuple[Known, Report]], parts: Parts) -> None:
    """Learn from successes how long tasks take, in the run and on the host."""
    seconds: dict[tuple[RunId, int], list[float]] = {}
    by_host: dict[tuple[HostId, RunId], list[float]] = {}
    for attempt, report in successes:
        seconds.setdefault((attempt.run, attempt.generation), []).append(report.seconds)
        by_host.setdefault((attempt.host, attempt.run), []).append(report.seconds)
    for (run, generation), values in seconds.items():
        learned = parts.learned(tx, run, generation)
        for value in values:
            learned = learned.plus(value)
        parts.learn(run, generation, learned)
        tx.change(
            "generation_learn", run, generation,
            learned.successes, learned.typical_s, learned.log_mean, learned.log_deviation,
        )  # fmt: skip
    for (host, run), values in by_host.items():
        mean = sum(math.log(max(value, SHORTEST_S)) for value in values) / len(values)
        tx.change("host_run_learn", host, run, mean, min(1.0, LEARN * len(values)))


def _compare(
    tx: Tx, agent: AgentOf, request: Exchange, parts: Parts, now: float
) -> tuple[Unwanted, int]:
    """Hold the tickets that the agent has against those it should have.

    Gives those it shall not have and how many it holds. A ticket that was granted and never received is
    granted again under the same name; one that is not known any more is killed.
    """
    queued = set(request.queued)
    running = dict(request.running)
    recalled = parts.recalled.get(agent.incarnation, ())
    ended = set(request.ended) | {report.ticket for report in request.reports}
    kill: list[str] = []
    drop: list[str] = []
    back: list[str] = []
    again: list[tuple[int, int]] = []
    started: list[tuple[int, float]] = []
    gone: list[str] = []
    dead: list[str] = []
    held = 0
    live = tx.rows("attempts_live", agent.incarnation)
    for name, attempt, state, granted_by, wanted, is_open, is_done in live:
        present = name in queued or name in running
        if state == "leased" and name in running:
            started.append((attempt, now - running[name]))
        if not wanted and (present or name in ended or state == "running"):
            (drop if is_done else kill).append(name)
        elif present:
            held += 1
            if name in running:
                parts.learned(tx, *run_of(name))  # what a new master adopts may be late
            if name in queued and (not is_open or name in recalled):
                back.append(name)
        elif name in ended:
            continue
        elif request.collects:
            dead.append(name)  # whether it was ever started, nobody knows any more
        elif state == "leased" and granted_by == request.number:
            held += 1  # it is being repeated: the answer to it may have arrived by now
        elif state == "leased" and not is_open:
            gone.append(name)  # never received, and no longer to be handed out
        elif state == "leased":
            again.append((attempt, request.number))
            held += 1
        else:
            gone.append(name)
    tx.change_each("attempt_running", started)
    tx.change_each("attempt_grant_again", again)
    _lose(tx, gone, "the agent does not have it any more", now)
    if dead:
        upkeep.lose_all(tx, dead, why="it died with its agent", now=now)
    parts.kept.pop(agent.incarnation, None)
    has = queued | set(running)
    given_up = (has | ended) - {row[0] for row in live}
    if given_up:
        rows = tx.rows("attempts_still_wanted", json.dumps(sorted(given_up)), agent.incarnation)
        wanted_still = {row[0] for row in rows}
        parts.kept[agent.incarnation] = json.dumps([row[1] for row in rows])
        held += len(wanted_still & has)
        drop += sorted((given_up & has) - wanted_still)
        back += sorted(wanted_still & queued)
    return Unwanted(kill=tuple(kill), drop=tuple(drop), back=tuple(back)), held


def _goodbye(tx: Tx, agent: AgentOf, parts: Parts, now: float) -> None:
    """End the agent; what it leaves behind goes back to the queue."""
    live = tx.rows("attempts_live", agent.incarnation)
    if live:
        upkeep.lose_all(tx, [row[0] for row in live], why="the agent ended", now=now)
    tx.change("agent_bye", agent.incarnation)
    parts.forget(agent.incarnation)
    upkeep.leave_host(tx, agent.host, agent.incarnation, "gone", "")
    tx.change("host_unclean", agent.host, "")
    tx.change("host_short", agent.host, "")
    tx.tell("agent")


def _lose(tx: Tx, tickets: Sequence[str], why: str, now: float) -> None:
    """Give up what the agent does not have: what it never received has come to no harm."""
    lost: list[str] = []
    for row in tx.rows("attempts_known", json.dumps(list(tickets))) if tickets else ():
        known = Known._make(row)
        if known.state == "leased":
            judge.give_back(tx, known, message=why, now=now)
        else:
            judge.lose(tx, known, message=why, now=now)
            lost.append(known.ticket)
    if lost:
        events.add(tx, now, "lost", tickets=lost, text=why)


# ------------------------------------------------------------------- what it shall do


def _grant(tx: Tx, agent: AgentOf, number: int, held: int, parts: Parts, now: float) -> AgentOf:
    """Hand out tasks, written down under this exchange's number; gives the agent as it is then."""
    parts.asking.pop(agent.incarnation, None)
    parts.keeping.discard(agent.incarnation)
    if agent.host_state not in ("up", "probation") or agent.short or parts.low:
        return agent
    if agent.incarnation in parts.retiring:
        return agent
    stock = Stock(tx, agent.incarnation, agent.host, agent.slots, parts)
    kept = parts.kept.get(agent.incarnation, "[]")
    for run, generation, _, waiting, typical_s, successes in tx.rows("runs_waiting", agent.host):
        key = (RunId(run), generation)
        hosts = tx.value("hosts_usable", run)
        part = parts.get(tx, run, generation)
        agent = _widen(tx, agent, part)
        stock.slots = agent.slots
        own = (tx.row("host_run_get", agent.host, run) or (0, 0, 0))[0]
        most = stock.room(key) if part.picky else agent.slots
        slots = placement.usable_slots(
            slots=min(most, part.slots or most),
            probation=agent.host_state == "probation",
            successes=own,
            hosts=hosts,
        )
        size = placement.lease_size(
            slots=slots,
            held=stock.own(key) if part.picky else stock.weigh(held),
            typical_s=typical_s,
            successes=successes if hosts <= 1 else min(own, successes),
            waiting=waiting,
            hosts=hosts,
        )
        if part.picky and not most and not stock.own(key):
            size = 1  # it waits there for what others hold
        if recall.would_wait(
            tx, key, parts, incarnation=agent.incarnation, slots=agent.slots, hosts=hosts
        ):
            fits = stock.spare(key) if part.picky else agent.slots - stock.weigh(held)
            size = max(0, min(size, fits))
        if size > waiting - hosts:
            took_part = own > 0 or held > 0
            left = placement.open_to(
                waiting=waiting, awaited=_awaited(tx, run, now), took_part=took_part
            )
            if left < size:
                parts.keeping.add(agent.incarnation)
                size = left
        if size:
            rows = tx.rows("tasks_waiting", run, agent.host, size, kept, health.HOPELESS)
            _hand_out(tx, agent, number, run, rows, now)
            stock.add(key, len(rows))
            held += len(rows)
    if stock.weigh(held) < agent.slots and agent.host_state == "up":
        free = agent.slots - stock.weigh(held)
        free -= recall.recall(
            tx, agent.incarnation, agent.host, free=free, stock=stock, parts=parts
        )
        free -= _twin_silent(tx, agent, number, free, stock, parts, now)
        _twin_late(tx, agent, number, free, stock, parts, now)
    return agent


def _awaited(tx: Tx, run: int, now: float) -> int:
    """Count the hosts that are still being reached for a run that has just begun."""
    count: int = tx.value("hosts_awaited", run, now - placement.AWAIT_S, now)
    return count


def _widen(tx: Tx, agent: AgentOf, part: Part) -> AgentOf:
    """Give a host more slots than cores if a run asks for them and nobody said otherwise."""
    slots = part.slots if part.needs.cpus == 1 else None
    if slots is None or agent.fixed_slots or slots <= agent.slots:
        return agent
    tx.change("agent_slots", agent.incarnation, slots)
    return msgspec.structs.replace(agent, slots=slots)


def _twin_silent(
    tx: Tx, agent: AgentOf, number: int, free: int, stock: Stock, parts: Parts, now: float
) -> int:
    """Hand out once more what only hosts have of which nothing is heard; gives how many."""
    if not tx.value("hosts_silent"):
        return 0
    rows: list[Row] = []
    for row in tx.rows("tasks_silent", agent.host, free, parts.kept.get(agent.incarnation, "[]")):
        key = (RunId(row[6]), row[5])
        if stock.spare(key) > 0:
            stock.add(key, 1)
            rows.append(row)
    _twin(tx, agent, number, rows, now, why="nothing is heard of the host that has it")
    return len(rows)


def _twin_late(
    tx: Tx, agent: AgentOf, number: int, free: int, stock: Stock, parts: Parts, now: float
) -> None:
    """Hand out once more what is late on another host, if this one is fast enough to help."""
    late = parts.late() if free else []
    kept = parts.kept.get(agent.incarnation, "[]")
    for run, generation in dict.fromkeys(run_of(name) for name in late):
        learned = parts.learned(tx, run, generation)
        speed = tx.value("host_run_speed", agent.host, run)
        if not parts.get(tx, run, generation).options.twins or not may_help(
            learned, host_log_mean=speed
        ):
            continue
        tickets = json.dumps([name for name in late if run_of(name) == (run, generation)])
        fits = max(0, min(free, stock.spare((run, generation))))
        rows = tx.rows("tasks_late", tickets, agent.host, fits, MOST_TWINS, kept)
        stock.add((run, generation), len(rows))
        parts.twinned.update(row[7] for row in rows)
        why = (
            f"it takes longer than {late_after_s(learned):.3g} s; half take {learned.median_s:.3g}"
        )
        _twin(tx, agent, number, rows, now, why=why)
        free -= len(rows)


def _twin(
    tx: Tx, agent: AgentOf, number: int, rows: Sequence[Row], now: float, *, why: str
) -> None:
    by_run: dict[RunId, list[Row]] = {}
    for row in rows:
        by_run.setdefault(row[6], []).append(row[:6])
    for run, some in by_run.items():
        tickets = _hand_out(tx, agent, number, run, some, now, twins=True)
        events.add(tx, now, "twin", run=run, host=agent.host_name, tickets=tickets, text=why)


def _hand_out(
    tx: Tx,
    agent: AgentOf,
    number: int,
    run: int,
    rows: Sequence[Row],
    now: float,
    *,
    twins: bool = False,
) -> list[str]:
    attempts = [
        (ticket(RunId(run), generation, task_number, attempts + 1), task, attempts + 1, epoch, reason,
         agent.incarnation, agent.host, number, now)
        for task, task_number, attempts, epoch, reason, generation in rows
    ]  # fmt: skip
    leased = tx.change_each("task_twin" if twins else "task_lease", [(row[0],) for row in rows])
    assert leased == len(rows), "a task changed between reading and writing one transaction"
    tx.change_each("attempt_new", attempts)
    return [attempt[0] for attempt in attempts]


def _reply(
    tx: Tx,
    agent: AgentOf,
    number: int,
    parts: Parts,
    *,
    answered: tuple[str, ...],
    unwanted: Unwanted,
    holds: bool,
) -> Reply:
    rows = tx.rows("leases", agent.incarnation, number)
    keys = {(row[2], row[3]) for row in rows}
    used = {f"{run}-{generation}": parts.get(tx, run, generation) for run, generation in keys}
    leases = tuple(lease(tx, used[f"{row[2]}-{row[3]}"], row, host=agent.host_name) for row in rows)
    stock = Stock(tx, agent.incarnation, agent.host, agent.slots, parts)
    return Reply(
        number=number,
        hold_s=parts.terms.beat(holds_tickets=holds or bool(leases)),
        slots=agent.slots,
        parts={key: stock.message(part) for key, part in used.items()},
        leases=leases,
        timeouts=_timeouts(tx, agent, keys, parts),
        kill=unwanted.kill,
        drop=unwanted.drop,
        back=unwanted.back,
        answered=answered,
    )


def _timeouts(
    tx: Tx, agent: AgentOf, leased: set[tuple[RunId, int]], parts: Parts
) -> dict[str, float]:
    """Say after how long tasks are ended, as learned by now, of all runs that the agent works for."""
    running = {run_of(name) for name in parts.running.get(agent.incarnation, ())}
    learned = {key: parts.timeout_s(tx, *key) for key in leased | running}
    return {
        f"{run}-{generation}": round(seconds, 3)
        for (run, generation), seconds in learned.items()
        if seconds is not None
    }
