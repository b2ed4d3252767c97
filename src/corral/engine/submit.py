"""How a command becomes tasks: begin, fill by batches, open.

Submission is atomic by state, not by one transaction: the run is ``preparing`` while its rows go
in, and the last step opens it. A half-written one is finished by doing the same again.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from corral.engine import events, needs, upkeep, values
from corral.errors import StateError, UsageError
from corral.ids import RunId
from corral.model.base import Frozen
from corral.model.command import Command
from corral.model.run import Input, Submission, Submitted
from corral.scheduler.needs import why_never

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from corral.store.base import Reader, Row, Tx

BATCH = 2_000  # rows in one transaction: other runs' exchanges wait no longer than for these
_APART = Command(form="vector", words=())  # in a stored submission: the command has its own table


class Begun(Frozen, frozen=True, kw_only=True):
    """Where a submission's tasks go."""

    run: RunId
    name: str
    generation: int
    submission: int  # rises with each command of the generation
    last_number: int  # highest task number given before
    empty: bool  # the generation has no tasks yet, so nothing needs to be looked up
    why_fresh: str


class NewTask(Frozen, frozen=True, kw_only=True, array_like=True):
    """One expanded row, ready to be stored."""

    key: str
    params: str  # JSON list of the values' texts
    rep: int
    k: int
    input_digest: str  # of the files that only this task gets; "" if none


class Filled(Frozen, frozen=True, kw_only=True):
    """What a batch came to."""

    new: int = 0
    again: int = 0
    kept: int = 0
    unfinished: int = 0  # of those kept

    def plus(self, other: Filled) -> Filled:
        return Filled(
            new=self.new + other.new,
            again=self.again + other.again,
            kept=self.kept + other.kept,
            unfinished=self.unfinished + other.unfinished,
        )


def begin(tx: Tx, submission: Submission, now: float) -> Begun:
    """Find or make the run and the generation that ``submission`` belongs to; nothing is handed out.

    Raises:
        UsageError: The chosen name belongs to another command.
        StateError: The run is being prepared by another submission.
    """
    wanted = submission.name if submission.named else ""
    found = tx.row("run_of_skeleton", submission.folder, submission.skeleton, wanted)
    if found is None:
        return _begin_run(tx, submission, now)
    run, name, state, number = found
    if state == "preparing":
        return _continue(tx, RunId(run), name, number, submission)
    digest, inputs, sequence, last_number = _shape(tx, run, number)
    why = _why_fresh(submission, digest, msgspec.json.decode(inputs, type=tuple[Input, ...]))
    if why:
        number += 1
        _new_generation(tx, RunId(run), number, submission, now)
        tx.change("generation_retire", run, number)
        events.add(tx, now, "fresh", run=RunId(run), name=name, text=why)
        sequence, last_number = 1, 0
    else:
        sequence += 1
        _next_command(tx, RunId(run), number, submission)
    _prepare(tx, RunId(run), name, number, submission)
    return Begun(
        run=RunId(run),
        name=name,
        generation=number,
        submission=sequence,
        last_number=last_number,
        empty=last_number == 0,
        why_fresh=why,
    )


def add(
    tx: Tx, begun: Begun, rows: Sequence[NewTask], *, first_position: int, last_number: int
) -> tuple[Filled, int]:
    """Store a batch of at most `BATCH` rows; gives what it came to and the highest number now."""
    known = {} if begun.empty else _known(tx, begun, rows)
    fresh: list[tuple[object, ...]] = []
    keep: list[tuple[int, int, int]] = []
    unfinished = 0
    again: list[tuple[int, int, int, str, int]] = []
    for position, row in enumerate(rows, first_position):
        old = known.get(row.key)
        if old is None:
            last_number += 1
            fresh.append(
                (last_number, row.key, position, row.params, row.rep, row.k, row.input_digest)
            )
            continue
        changed = old.input_digest != row.input_digest
        if changed and old.accepted is not None:
            tx.change("attempt_supersede", old.accepted)
        if changed or not old.settled:
            again.append((old.id, position, begun.submission, row.input_digest, int(changed)))
        else:
            keep.append((old.id, position, begun.submission))
            unfinished += old.unfinished
    if fresh:
        tx.change("task_new", begun.run, begun.generation, begun.submission, _json(fresh))
        tx.change("run_count_add", begun.run, begun.generation, "waiting", len(fresh))
    tx.change_each("task_keep", keep)
    tx.change_each("task_again", again)
    position = first_position + len(rows) - 1
    tx.change("generation_filled", begun.run, begun.generation, position, last_number)
    filled = Filled(new=len(fresh), again=len(again), kept=len(keep), unfinished=unfinished)
    return filled, last_number


def finish(tx: Tx, begun: Begun, filled: Filled, *, tasks: int, now: float) -> Submitted:
    """Open the run: what the command no longer names steps back, the rest may be handed out."""
    if not begun.empty:
        tx.change("task_unname", begun.run, begun.generation, begun.submission)
    tx.change("generation_filled", begun.run, begun.generation, tasks, _last_number(tx, begun))
    counts: dict[str, int] = dict(tx.rows("run_counts", begun.run, begun.generation))
    busy = counts.get("waiting", 0) + counts.get("active", 0)
    if not tx.change("run_open", begun.run, "open" if busy else "done", now):
        raise StateError(f"{begun.name} was changed by somebody else while it was prepared")
    values.drop(tx, begun.run, begun.generation)
    tx.change("run_begin_limits", begun.run)
    events.add(
        tx,
        now,
        "submitted",
        run=begun.run,
        name=begun.name,
        text=f"{tasks} tasks: {filled.new} new, {filled.again} again, {filled.kept} kept",
    )
    tx.tell("work")
    tx.tell("run")
    return Submitted(
        run=begun.run,
        name=begun.name,
        generation=begun.generation,
        why_fresh=begun.why_fresh,
        tasks=tasks,
        new=filled.new,
        again=filled.again,
        kept=filled.kept,
        unfinished=filled.unfinished,
    )


def at_once(tx: Tx, submission: Submission, rows: Sequence[NewTask], now: float) -> Submitted:
    """Submit what fits in one batch: nobody has to wait for more than one commit.

    Raises: as `begin` and `finish` do; then nothing has changed.
    """
    begun = begin(tx, submission, now)
    filled, _ = add(tx, begun, rows, first_position=1, last_number=begun.last_number)
    return finish(tx, begun, filled, tasks=len(rows), now=now)


def half_written(reader: Reader) -> list[Submission]:
    """List the submissions that a master left half-written; doing them again finishes them."""
    return [
        msgspec.structs.replace(
            msgspec.json.decode(submission, type=Submission),
            command=values.put_back(
                reader, run, generation, msgspec.json.decode(command, type=Command)
            ),
        )
        for run, generation, submission, command in reader.rows("run_preparing")
    ]


def content_digest(inputs: Iterable[Input]) -> str:
    """Digest the bytes that every task gets: another digest is another generation."""
    lines = sorted(
        f"{file.path}\0{file.sha256}\0{file.mode:o}"
        + (f"\0{file.platform}" if file.platform else "")
        for file in inputs
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _begin_run(tx: Tx, submission: Submission, now: float) -> Begun:
    name = _free_name(tx, submission)
    run = RunId(tx.insert("run_new", name, submission.folder, submission.skeleton, now))
    _new_generation(tx, run, 1, submission, now)
    _prepare(tx, run, name, 1, submission)
    return Begun(
        run=run,
        name=name,
        generation=1,
        submission=1,
        last_number=0,
        empty=True,
        why_fresh="",
    )


def _continue(tx: Tx, run: RunId, name: str, number: int, submission: Submission) -> Begun:
    """Go on with a half-written submission: the rows that are in are found again by their keys.

    Whoever calls has seen to it that no other submission of this run is under way.
    """
    digest, _, sequence, last_number = _shape(tx, run, number)
    if digest != content_digest(submission.inputs):
        raise StateError(
            f"{name} is being prepared with other files", hint="wait for it, or: corral rm"
        )
    _next_command(tx, run, number, submission)
    _prepare(tx, run, name, number, submission)
    return Begun(
        run=run,
        name=name,
        generation=number,
        submission=sequence + 1,
        last_number=last_number,
        empty=False,
        why_fresh="",
    )


def _free_name(tx: Tx, submission: Submission) -> str:
    if tx.value("run_named", submission.name) is None:
        return submission.name
    if submission.named:
        raise UsageError(
            f"--name {submission.name}: another command has this name",
            hint=f"take another name, or: corral rm {submission.name}",
        )
    number = 2
    while tx.value("run_named", f"{submission.name}-{number}") is not None:
        number += 1
    return f"{submission.name}-{number}"


def _why_fresh(submission: Submission, digest: str, before: Sequence[Input]) -> str:
    """Say why a new generation is due; "" if it is not."""
    if submission.fresh:
        return "asked with --fresh"
    if content_digest(submission.inputs) == digest:
        return ""
    old = {(file.path, file.platform): (file.sha256, file.mode) for file in before}
    new = {(file.path, file.platform): (file.sha256, file.mode) for file in submission.inputs}
    differ = sorted(place for place in old.keys() | new.keys() if old.get(place) != new.get(place))
    changed = [f"{path} for {platform}" if platform else path for path, platform in differ]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return f"{', '.join(changed[:3])}{more} changed"


def _new_generation(tx: Tx, run: RunId, number: int, submission: Submission, now: float) -> None:
    names = json.dumps([axis.name for axis in submission.command.axes])
    digest = content_digest(submission.inputs)
    tx.change("generation_new", run, number, digest, names, _json(submission.inputs), now)
    _put_command(tx, run, number, submission.command)


def _next_command(tx: Tx, run: RunId, number: int, submission: Submission) -> None:
    tx.change("generation_again", run, number, _json(submission.inputs))
    _put_command(tx, run, number, submission.command)


def _put_command(tx: Tx, run: RunId, number: int, command: Command) -> None:
    tx.change("command_put", run, number, _json(values.put_apart(tx, run, number, command)))


def _prepare(tx: Tx, run: RunId, name: str, number: int, submission: Submission) -> None:
    if not submission.options.out_given and name != submission.name:
        out = f"{submission.options.out.rpartition('/')[0]}/{name}"
        options = msgspec.structs.replace(submission.options, out=out)
        submission = msgspec.structs.replace(submission, options=options)
    tx.change(
        "run_prepare",
        run,
        json.dumps(submission.words),
        submission.source,
        _json(submission.options),
        number,
        int(submission.detached),
        _json(msgspec.structs.replace(submission, command=_APART)),
        int(needs.is_picky(submission.command, submission.inputs)),
    )
    tx.change_each(
        "value_input_put",
        [
            (run, number, file.path, file.sha256, file.size, file.mode)
            for file in submission.value_inputs
        ],
    )
    _name_hosts(tx, run, submission)


def _name_hosts(tx: Tx, run: RunId, submission: Submission) -> None:
    """Write down which hosts the run may use from now on, and how they are reached."""
    picky = needs.is_picky(submission.command, submission.inputs)
    programs = needs.programs(file.platform for file in submission.inputs)
    tx.change("run_forget_hosts", run)
    for spec in submission.hosts:
        host = upkeep.name_host(tx, spec.name, slots=spec.slots or 0)
        tx.change("host_spec", host, _json(spec))
        unfit = ""
        if picky:
            has = needs.offer_of(tx, host, live=True)
            unfit = why_never(submission.command.needs, has, programs=programs)
        tx.change("host_run_want", host, run, unfit)


class _Old(NamedTuple):
    """A task that was there before: a row of the query ``task_of_keys``."""

    key: str
    id: int
    state: str
    input_digest: str
    accepted: int | None
    position: int | None  # None: the latest command did not name it

    @property
    def settled(self) -> bool:
        """Say whether the task is under way, done, or skipped by its own program."""
        if self.state == "skipped":
            return self.position is not None
        return self.state == "done" or self.unfinished

    @property
    def unfinished(self) -> bool:
        """Say whether the task waits or is under way already."""
        return self.state in ("waiting", "active", "held")


def _known(tx: Tx, begun: Begun, rows: Sequence[NewTask]) -> dict[str, _Old]:
    keys = json.dumps([row.key for row in rows])
    found = map(_Old._make, tx.rows("task_of_keys", begun.run, begun.generation, keys))
    return {old.key: old for old in found}


def _shape(tx: Tx, run: int, number: int) -> Row:
    row = tx.row("generation_get", run, number)
    assert row is not None, "a run without its generation"
    return row


def _last_number(tx: Tx, begun: Begun) -> int:
    number: int = _shape(tx, begun.run, begun.generation)[3]
    return number


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
