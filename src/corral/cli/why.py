"""``corral why``: in a sentence, why a task or a run is as it is, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from corral.cli import output
from corral.cli.hostnews import WELL, summary
from corral.cli.output import counted, plain
from corral.engine import judge, queries
from corral.hosts import hostset
from corral.model.needs import Needs
from corral.scheduler import needs
from corral.units import show_seconds

if TYPE_CHECKING:
    from corral.model.host import Host
    from corral.model.run import Run
    from corral.model.task import TaskDetail
    from corral.store.base import Reader

EVENTS = 10


@output.verb("why")
@click.argument("run_and_task", nargs=-1, metavar="[RUN] [TASK] | HOST")
@output.json_option
def command(run_and_task: tuple[str, ...], *, as_json: bool) -> None:
    """Say why task TASK of RUN is as it is; without a task, why the run is; or why HOST is."""
    client = output.client()
    served = client.folder.master() is not None
    shortage = client.folder.shortage()
    with client.reader() as reader:
        host = _host_named(reader, run_and_task)
        if host is not None:
            _tell_host(reader, host, as_json=as_json)
            return
        run, number = output.run_maybe_task(reader, run_and_task)
        if number is None:
            sentences = _of_run(reader, run, served=served)
            sentences += _of_needs(reader, run) if run.counts["waiting"] else []
            tickets = []
        else:
            detail = queries.task_detail(reader, run, number)
            sentences = _of_task(reader, run, detail, served=served)
            tickets = [attempt.ticket for attempt in detail.attempts]
        if shortage and run.state == "open" and run.counts["waiting"] + run.counts["active"]:
            sentences.append(f"{shortage}; results wait on their hosts; free some, and it goes on.")
        events = (
            queries.events(reader, run, limit=EVENTS)
            if number is None
            else [event for ticket in tickets for event in queries.events_of(reader, ticket)]
        )
    if as_json:
        output.print_json({"run": run.name, "task": number, "why": sentences, "events": events})
        return
    for sentence in sentences:
        click.echo(plain(sentence))
    for event in events:
        tail = f": {event.text}" if event.text else ""
        click.echo(plain(f"  {output.when(event.at)}  {event.kind}{tail}"))


def _host_named(reader: Reader, words: tuple[str, ...]) -> Host | None:
    """Find the host that is meant, if a single word names one and no run."""
    if len(words) != 1 or any(name == words[0] for _, name in reader.rows("run_names")):
        return None
    return next((host for host in queries.hosts(reader) if host.name == words[0]), None)


def _tell_host(reader: Reader, host: Host, *, as_json: bool) -> None:
    sentences = _of_host(host)
    events = [
        event for event in queries.events(reader, None, limit=1000) if event.host == host.name
    ][-EVENTS:]
    if as_json:
        output.print_json({"host": host.name, "why": sentences, "events": events})
        return
    for sentence in sentences:
        click.echo(plain(sentence))
    for event in events:
        click.echo(f"  {output.when(event.at)}  {event.kind}: {plain(event.text)}")


def _of_host(host: Host) -> list[str]:
    """Say how a host stands, and what undoes what keeps it from work."""
    reason, _, hint = host.reason.partition("\n")
    did = f"{host.done} results came from it, {host.failed} failures are blamed on it."
    sentences = [f"{host.name} is {host.state}" + (f": {reason}" if reason else "") + ".", did]
    match host.state:
        case "quarantined":
            sentences.append(
                "It gets a task to prove itself after 30 s, then after ever longer; "
                "a new run without it: corral run -x."
            )
        case "unreachable":
            sentences.append(f"Try: {hint or 'mend it'}; then corral resume uses it again.")
        case "suspect" | "lost":
            sentences.append(
                "Its agent is looked for again and again; what it has finished still counts then."
            )
        case "probation":
            sentences.append("It has one task; if that succeeds, it is used as before.")
        case _:
            pass
    if host.memory_by:
        polled = host.memory_by.startswith("polled")
        how = host.memory_by if polled else f"limited by {host.memory_by}"
        sentences.append(f"A task's memory is {how} there.")
    return sentences + [text for text in (host.note, host.unclean) if text]


def _of_run(reader: Reader, run: Run, *, served: bool) -> list[str]:
    waiting, active = run.counts["waiting"], run.counts["active"]
    left = counted(waiting, "task")
    match run.state:
        case "done":
            failed = run.counts["failed"]
            if failed:
                return [f"{run.name} is done; {failed} failed: corral tasks {run.name} failed"]
            done = run.counts["done"]
            have = "its task has" if done == 1 else f"all {done} tasks have"
            return [f"{run.name} is done: {have} a result."]
        case "open" if not served:
            return [
                f"{run.name} is open, but nobody serves it: its master ended.",
                f"corral resume {run.name} goes on; nothing that is done is run again.",
            ]
        case "open":
            begun = f"{counted(active, 'task')} {'runs' if active == 1 else 'run'}"
            rest = f"{waiting} {'waits' if waiting == 1 else 'wait'} for a slot"
            return [f"{run.name} is under way: {begun}, {rest}.", *_of_hosts(reader, run)]
        case "paused" if run.reason == "asked":
            return [f"{run.name} was paused: corral unpause {run.name} goes on."]
        case "paused" if run.reason.startswith(judge.NO_VERDICT):
            return [
                f"{run.name} paused by itself: {run.reason}.",
                f"mend what checks; the result is kept and judged again: corral resume {run.name}",
            ]
        case "paused":
            return [
                f"{run.name} paused by itself: {run.reason}.",
                f"look: corral logs {run.name} failed; go on all the same: corral unpause {run.name}",
            ]
        case "halted" if run.reason:
            return [
                f"{run.name} halted by itself with {left} left: {run.reason}.",
                f"go on all the same: corral resume {run.name}",
            ]
        case "halted":
            return [f"{run.name} was stopped with {left} left: corral resume {run.name}"]
        case "cancelled":
            return [f"{run.name} was cancelled: corral retry {run.name} gives its tasks out again."]
        case _:
            return [f"{run.name} is being prepared: its tasks are being written."]


def _of_hosts(reader: Reader, run: Run) -> list[str]:
    """Say on which hosts a run is, if there is anything to say of them."""
    hosts = queries.hosts_of(reader, run.id)
    odd = [host.name for host in hosts if host.state not in WELL]
    more = f": corral why {odd[0]}" if odd else "."
    return [f"It is on {text}{more}"] if (text := summary(hosts)) else []


def _of_needs(reader: Reader, run: Run) -> list[str]:
    """Say what tasks that have not started need, which hosts never have it, and what is not free now."""
    needed = queries.generation(reader, run).command.needs
    unfit: dict[str, list[str]] = {}
    for host in queries.hosts_of(reader, run.id):
        if host.unfit:
            unfit.setdefault(host.unfit, []).append(host.name)
    if run.state != "open" or (needed == Needs() and not unfit):
        return []
    text = needs.describe(needed)
    sentences = [f"Each of its tasks needs {text}."] if text else []
    sentences += [f"{hostset.fold(names)} never gets one: {why}." for why, names in unfit.items()]
    return sentences + [
        f"{one.host} has {needs.show(one.name, one.free)} of {needs.show(one.name, one.has)} free."
        for one in queries.free(reader, run)
    ]


def _of_task(reader: Reader, run: Run, detail: TaskDetail, *, served: bool) -> list[str]:
    task = detail.task
    name = f"task {task.number} of {run.name}"
    last = detail.attempts[-1] if detail.attempts else None
    match task.state:
        case "done":
            return [f"{name} is done: attempt {last.number if last else 0} on {task.host} gave it."]
        case "active":
            own = [one for one in queries.running(reader, run) if one.task == task.number]
            took = f", for {show_seconds(_now() - own[0].since)}" if own else ""
            said = f" It says: {own[-1].progress}" if own and own[-1].progress else ""
            if all(one.state in ("leased", "ended") for one in detail.attempts):
                begun = f"{name} has not started: it waits on {task.host}{took}."
                return [begun, *_of_needs(reader, run)]
            return [f"{name} is with {task.host}{took}.{said}"]
        case "failed":
            return [
                f"{name} failed: {task.reason}.",
                f"{task.charged} of its attempts count; again: corral retry {run.name} {task.number}",
            ]
        case "waiting":
            before = f" after {task.reason}" if task.reason else ""
            why = [*_of_run(reader, run, served=served), *_of_needs(reader, run)]
            return [f"{name} waits{before}.", *why]
        case _:
            again = f"corral retry {run.name} {task.number}"
            return [f"{name} is {task.state}: {task.reason or 'by an operator'}; again: {again}"]


def _now() -> float:
    import time

    return time.time()
