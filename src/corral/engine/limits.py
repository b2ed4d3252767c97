"""When does a run halt by itself: too many failures, too long; and what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from corral.engine import events
from corral.ids import RunId
from corral.model.run import Options
from corral.scheduler import limits
from corral.units import show_seconds

if TYPE_CHECKING:
    from corral.store.base import Tx


def after_failure(tx: Tx, run: RunId, name: str, options: Options, now: float) -> None:
    """A task has failed for good: halt its run if that was one too many."""
    halt = options.limits.halt
    if halt is None:
        return
    row = tx.row("run_failures", run)
    assert row is not None
    failed, ended, tasks = row
    if not limits.has_failed_enough(halt, failed=failed, ended=ended, tasks=tasks):
        return
    wanted = f"{halt.failures}" if halt.failures is not None else f"{halt.percent:g}%"
    text = f"{failed} of {ended} tasks failed (--halt {halt.when},fail={wanted})"
    halt_run(tx, run, name, text=text, kill=halt.when == "now", now=now)


def may_grow(tx: Tx, ticket: str, options: Options) -> bool:
    """Say whether the task of an attempt that had too little memory gets more the next time."""
    return limits.may_grow(options.limits.memory, ooms=tx.value("task_ooms", ticket) + 1)


def count_time(tx: Tx, passed_s: float, now: float) -> None:
    """Count the time in which runs with a limit are served; halt those that are past it."""
    tx.change("runs_serve", passed_s)
    for run, name, options_text in tx.rows("runs_overdue"):
        options = msgspec.json.decode(options_text, type=Options)
        limit_s = options.limits.run_timeout_s
        assert limit_s is not None
        text = f"it has taken {show_seconds(limit_s)} (--run-timeout)"
        halt_run(tx, RunId(run), name, text=text, kill=True, now=now)


def note_room(tx: Tx, text: str, now: float) -> None:
    """Put on record, for every open run, what the room on the master's disk has come to."""
    for run, state, _ in tx.rows("runs_busy"):
        if state == "open":
            name = (tx.row("run_state", run) or ("", ""))[1]
            events.add(tx, now, "master", run=RunId(run), name=name, text=text)


def halt_all(tx: Tx, text: str, now: float) -> None:
    """Halt every open run: what they would still write cannot be stored."""
    for run, state, _ in tx.rows("runs_busy"):
        if state == "open":
            name = (tx.row("run_state", run) or ("", ""))[1]
            halt_run(tx, RunId(run), name, text=text, kill=False, now=now)


def halt_run(tx: Tx, run: RunId, name: str, *, text: str, kill: bool, now: float) -> None:
    """Hand nothing out any more; ``kill`` ends what runs, too. `resume` goes on."""
    if not tx.change("run_set", run, "halted", text, '["open"]', None):
        return
    events.add(tx, now, "halted", run=run, name=name, text=text)
    if kill:
        tx.change("attempts_kill_of_run", run)
    tx.tell("work")
    tx.tell("run")
