"""What a user may ask to see: runs, tasks, attempts, results, hosts, events; nothing is changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from corral.clock import utc
from corral.engine import needs
from corral.engine.needs import Stock
from corral.engine.parts import Parts
from corral.errors import NoHostError, NotFoundError
from corral.ids import Incarnation, RunId
from corral.model.attempt import Attempt
from corral.model.command import Command
from corral.model.event import Event
from corral.model.host import Host, HostSpec, RunHost
from corral.model.run import TASK_STATES, Generation, Input, Options, Run
from corral.model.task import Captured, Result, ResultFile, Task, TaskDetail
from corral.protocol import Facts
from corral.scheduler.needs import unmeetable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from corral.store.base import Reader, Row

_VALUES = msgspec.json.Decoder(tuple[str, ...])
_NOTHING = Captured()
PAGE = 1_000  # rows read at a time where a query is walked by number


def runs(reader: Reader) -> list[Run]:
    """List all runs, the oldest first."""
    return [_run(reader, row) for row in reader.rows("runs")]


def run(reader: Reader, run_id: RunId) -> Run:
    """Give one run.

    Raises:
        NotFoundError: There is none of that id (any more).
    """
    row = reader.row("run", run_id)
    if row is None:
        raise NotFoundError(f"run {run_id} is gone", hint="corral ls shows what there is")
    return _run(reader, row)


def find_run(reader: Reader, text: str) -> Run:
    """Find a run by its id, its name, an unambiguous beginning of the name, or ``last``.

    Raises:
        NotFoundError: None or several answer to it.
    """
    names = [(int(number), str(name)) for number, name in reader.rows("run_names")]
    if not names:
        raise NotFoundError("there is no run here yet", hint="corral run COMMAND makes one")
    if text == "last":
        return run(reader, RunId(names[-1][0]))
    exact = [number for number, name in names if name == text or str(number) == text]
    if exact:
        by_name = [number for number, name in names if name == text]
        return run(reader, RunId((by_name or exact)[0]))
    begun = [(number, name) for number, name in names if name.startswith(text)]
    if len(begun) == 1:
        return run(reader, RunId(begun[0][0]))
    listed = ", ".join(name for _, name in (begun or names)[-8:])
    if begun:
        raise NotFoundError(f"{text!r} could be several runs", hint=f"one of: {listed}")
    raise NotFoundError(f"there is no run {text!r}", hint=f"there are: {listed}")


def generation(reader: Reader, of: Run) -> Generation:
    """Give the shape of a run's latest generation."""
    row = reader.row("generation_shape", of.id, of.generation)
    assert row is not None
    names, command, inputs = row
    return Generation(
        run=of.id,
        number=of.generation,
        names=tuple(json.loads(names)),
        command=msgspec.json.decode(command, type=Command),
        inputs=msgspec.json.decode(inputs, type=tuple[Input, ...]),
    )


def code(reader: Reader, of: Run) -> str:
    """Give the digest of the bytes that every task of the latest generation gets; "" of none."""
    row = reader.row("generation_get", of.id, of.generation)
    assert row is not None
    digest, inputs, *_ = row
    return digest if inputs != "[]" else ""


def source(reader: Reader, run_id: RunId) -> str:
    """Give the text of the run file that repeats the run."""
    text: str = reader.value("run_source", run_id)
    return text


def tasks(reader: Reader, of: Run, *, everything: bool = False) -> Iterator[Task]:
    """Walk the tasks by number; those that the latest command does not name on request."""
    after = 0
    while page := reader.rows("tasks", of.id, of.generation, after, PAGE, int(everything)):
        yield from (_task(row) for row in page)
        after = page[-1][1]


def task(reader: Reader, of: Run, number: int) -> Task:
    """Give the task of that number.

    Raises:
        NotFoundError: The run has no such task.
    """
    row = reader.row("task_numbered", of.id, of.generation, number)
    if row is None:
        raise NotFoundError(
            f"{of.name} has no task {number}", hint=f"its tasks are 1 to {max(of.tasks, 1)}"
        )
    return _task(row)


def task_detail(reader: Reader, of: Run, number: int, *, command: str = "") -> TaskDetail:
    """Give everything about one task."""
    found = task(reader, of, number)
    return TaskDetail(
        task=found,
        names=generation(reader, of).names,
        command=command,
        attempts=tuple(_attempt(row) for row in reader.rows("attempts_of_task", found.id)),
    )


def replicate(reader: Reader, of: Task) -> int:
    """Say which of equal settings the task is, from 0."""
    k: int = reader.value("task_k", of.id)
    return k


def attempts(reader: Reader, of: Run) -> Iterator[Attempt]:
    """Stream all attempts of the latest generation, by task and number."""
    return (_attempt(row) for row in reader.each("attempts_of_run", of.id, of.generation))


class Running(NamedTuple):
    """An attempt that is under way."""

    ticket: str
    task: int
    host: str
    since: float  # when it was started, else leased; seconds since 1970
    incarnation: str
    state: str
    progress: str  # the last line of its CORRAL_PROGRESS


def running(reader: Reader, of: Run) -> list[Running]:
    """List what is leased or runs."""
    return [Running._make(row) for row in reader.rows("attempts_running", of.id)]


def results(reader: Reader, of: Run, *, everything: bool = False) -> Iterator[Result]:
    """Stream the tasks with what they left, in the order of the latest command."""
    for unnamed in (0, 1)[: 1 + everything]:
        for row in reader.each("results", of.id, of.generation, unnamed):
            yield _result(reader, row)


def printed(reader: Reader, of: Run, *, everything: bool = False) -> Iterator[Row]:
    """Stream (number, inline stdout, its size, SHA-256 if not inline) of the done tasks, in order.

    It is what most collecting needs, at a small part of what `results` costs.
    """
    for unnamed in (0, 1)[: 1 + everything]:
        yield from reader.each("printed", of.id, of.generation, unnamed)


def result(reader: Reader, of: Task) -> Result:
    """Give one task with what it left."""
    row = reader.row("result_of_task", of.id)
    assert row is not None
    return _result(reader, row)


def result_of_attempt(reader: Reader, attempt: int) -> Result:
    """Give what one attempt left, whatever became of it."""
    row = reader.row("result_of_attempt", attempt)
    assert row is not None
    return _result(reader, row)


def attempt(reader: Reader, of: Task, number: int) -> int:
    """Find an attempt of a task by its number.

    Raises:
        NotFoundError: There was none.
    """
    found: int | None = reader.value("attempt_of_task", of.id, number)
    if found is None:
        raise NotFoundError(
            f"task {of.number} has no attempt {number}",
            hint=f"it has {of.attempts}: corral show {of.number}",
        )
    return found


def hosts(reader: Reader, of: Run | None = None) -> list[Host]:
    """List the hosts that a run may use or has used; every host that was ever named without one."""
    return [_host(row) for row in reader.rows("hosts", None if of is None else of.id)]


def hosts_of(reader: Reader, run_id: RunId) -> list[RunHost]:
    """List the hosts that a run may use, each with how it is reached."""
    return [_run_host(row) for row in reader.rows("hosts_of_run", run_id)]


def unusable(reader: Reader, of: Run, hosts: Sequence[RunHost]) -> NoHostError | None:
    """Say that no host of a run can be used, and why; None if one can."""
    if not hosts or not all(host.state == "unreachable" or host.is_out for host in hosts):
        return None
    again = f"corral resume {of.name}"
    if all(host.is_out for host in hosts):
        shape = generation(reader, of)
        offers = {host.name: host.offer for host in hosts}
        only = needs.programs(file.platform for file in shape.inputs)
        unmet = unmeetable(shape.command.needs, offers, programs=only)
        return NoHostError(unmet.what, hint=unmet.hint)
    if len(hosts) > 1:
        return NoHostError(
            f"none of {len(hosts)} hosts can be used", hint=f"mend them; then: {again}"
        )
    reason, _, hint = hosts[0].reason.partition("\n")
    return NoHostError(reason, hint=f"{hint or 'mend it'}; then: {again}")


class Free(NamedTuple):
    """What a host has left of something that tasks of a run need."""

    host: str
    name: str
    free: int
    has: int


def free(reader: Reader, of: Run) -> list[Free]:
    """List what the run's tasks need and hosts have too little of for one more, now."""
    wanted = generation(reader, of).command.needs.amounts
    hosts = {host.name for host in hosts_of(reader, of.id) if not host.unfit}
    parts = Parts()
    found: list[Free] = []
    for incarnation, host, name, _, _, _, slots in reader.rows("agents_live"):
        if name not in hosts:
            continue
        stock = Stock(reader, Incarnation(incarnation), host, slots, parts)
        left, has = stock.free(), stock.has()
        found += [
            Free(name, what, left.get(what, 0), has.get(what, 0))
            for what, amount in wanted.items()
            if left.get(what, 0) < amount
        ]
    return found


def known_hosts(reader: Reader) -> list[RunHost]:
    """List every host that was ever named, each with how it is reached."""
    return [_run_host(row) for row in reader.rows("hosts_known")]


def events(reader: Reader, of: Run | None, *, limit: int) -> list[Event]:
    """List the latest decisions, the latest last."""
    rows = reader.rows("events", None if of is None else of.id, limit)
    return [_event(row) for row in reversed(rows)]


def events_of(reader: Reader, ticket: str) -> list[Event]:
    """List the decisions about an attempt."""
    return [_event(row) for row in reader.rows("events_of_ticket", ticket)]


def _run(reader: Reader, row: Row) -> Run:
    (number, name, folder, state, reason, latest, words, options, count, created, opened, ended,
     typical_s, _) = row  # fmt: skip
    counts: dict[str, int] = dict.fromkeys(TASK_STATES, 0)
    counts |= dict(reader.rows("run_counts", number, latest))
    return Run(
        id=RunId(number),
        name=name,
        folder=folder,
        state=state,
        reason=reason,
        generation=latest,
        words=tuple(json.loads(words)),
        options=msgspec.json.decode(options, type=Options),
        tasks=count,
        created=utc(created),
        opened=_when(opened),
        ended=_when(ended),
        typical_s=typical_s,
        counts=counts,
    )


def _task(row: Row) -> Task:
    (number_id, number, position, params, rep, state, reason, handed, charged, host, seconds,
     exit_code) = row  # fmt: skip
    return Task(
        id=number_id,
        number=number,
        position=position,
        values=tuple(json.loads(params)),
        rep=rep,
        state=state,
        reason=reason,
        attempts=handed,
        charged=charged,
        host=host or "",
        seconds=seconds,
        exit=exit_code,
    )


def _attempt(row: Row) -> Attempt:
    (ticket, number, attempt, reason, host, slot, state, outcome, kind, exit_code, signal, message,
     leased, started, ended, seconds, cpu_s, peak_kb, progress) = row  # fmt: skip
    return Attempt(
        ticket=ticket,
        task=number,
        number=attempt,
        reason=reason,
        host=host,
        slot=slot,
        state=state,
        outcome=outcome,
        kind=kind,
        exit=exit_code,
        signal=signal,
        message=message,
        leased=utc(leased),
        started=_when(started),
        ended=_when(ended),
        seconds=seconds,
        cpu_s=cpu_s,
        peak_kb=peak_kb,
        progress=progress,
    )


def _result(reader: Reader, row: Row) -> Result:
    (number, position, params, rep, state, reason, ticket, attempt, host, exit_code, signal, kind,
     outcome, seconds, cpu_s, peak_kb, out_size, out, out_sha256, err_size, err, err_sha256,
     told, attempt_id, has_files) = row  # fmt: skip
    files = reader.rows("files_of_attempt", attempt_id) if has_files else ()
    return Result(
        number=number,
        position=position,
        values=_VALUES.decode(params),
        rep=rep,
        state=state,
        reason=reason,
        ticket=ticket or "",
        attempt=attempt or 0,
        host=host or "",
        exit=exit_code,
        signal=signal,
        kind=kind,
        outcome=outcome,
        seconds=seconds,
        cpu_s=cpu_s,
        peak_kb=peak_kb,
        stdout=_captured(out_size, out, out_sha256),
        stderr=_captured(err_size, err, err_sha256),
        told=told or "",
        files=tuple(
            ResultFile(name=name, size=size, sha256=sha256, mode=mode)
            for name, size, sha256, mode in files
        ),
    )


def _run_host(row: Row) -> RunHost:
    name, state, reason, note, short, unclean, spec_text, facts, unfit = row
    spec = (
        HostSpec(name=name, host=name)
        if spec_text == "{}"
        else msgspec.json.decode(spec_text, type=HostSpec)
    )
    known = None if facts == "{}" else msgspec.json.decode(facts, type=Facts)
    return RunHost(
        name=name,
        state=state,
        reason=reason,
        note=_both(note, short),
        unclean=unclean,
        spec=spec,
        offer=needs.offer(spec, known),
        unfit=unfit,
    )


def _captured(size: int | None, inline: bytes | None, sha256: str | None) -> Captured:
    if not size:
        return _NOTHING
    return Captured(size=size, inline=inline or b"", sha256=sha256 or "")


def _host(row: Row) -> Host:
    (number, name, state, reason, note, short, unclean, slots, facts, unfit, busy, done,
     failed) = row  # fmt: skip
    known = None if facts == "{}" else msgspec.json.decode(facts, type=Facts)
    return Host(
        id=number,
        name=name,
        state=state,
        reason=reason,
        note=_both(note, short),
        unclean=unclean,
        unfit=unfit,
        slots=slots,
        cores=known.cores if known else 0,
        memory_by=known.memory_by if known else "",
        running=busy,
        done=done,
        failed=failed,
    )


def _both(note: str, short: str) -> str:
    return "; ".join(text for text in (note, short) if text)


def _event(row: Row) -> Event:
    number, at, kind, name, host, tickets, text = row
    return Event(
        id=number,
        at=utc(at),
        kind=kind,
        run=name,
        host=host,
        tickets=tuple(json.loads(tickets)),
        text=text,
    )


def _when(seconds: float | None) -> datetime | None:
    return None if seconds is None else utc(seconds)
