"""What an operator may ask of a run: one function per verb, each one transaction.

Every verb says what it did as a `Changed`; one that makes no sense for the run's state raises
`StateError` with the verb that does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from corral.engine import events, judge
from corral.errors import NotFoundError, StateError
from corral.ids import RunId, TaskId
from corral.model.base import Frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.model.event import EventKind
    from corral.store.base import Tx


class Changed(Frozen, frozen=True, kw_only=True):
    """What a verb did."""

    run: RunId
    name: str
    state: str  # of the run, afterwards
    tasks: int = 0  # how many tasks it touched


def pause(tx: Tx, run: RunId, now: float) -> Changed:
    """Hand out nothing until `unpause`; what runs goes on, what is only leased comes back."""
    return _turn(tx, run, "paused", ["open"], "paused", now, reason="asked")


def unpause(tx: Tx, run: RunId, now: float) -> Changed:
    """Hand out again; a run that paused by itself does not do so a second time."""
    changed = _turn(tx, run, "open", ["paused"], "unpaused", now)
    tx.change("run_trust", run)
    tx.change("failure_counts_clear", run)
    tx.change("run_begin_limits", run)
    judge.finish_run(tx, run, now)
    return changed


def stop(tx: Tx, run: RunId, now: float) -> Changed:
    """Let running tasks finish and hand out nothing: the run is halted, `resume` goes on."""
    _turn(tx, run, "halted", ["open", "paused"], "halted", now)
    judge.finish_run(tx, run, now)
    return _changed(tx, run)


def kill(tx: Tx, run: RunId, now: float) -> Changed:
    """Halt the run and end what runs now; the killed tasks wait for `resume`."""
    state, _, _ = _run(tx, run)
    if state in ("open", "paused"):
        changed = stop(tx, run, now)
    elif state == "halted":
        changed = _changed(tx, run)
    else:
        raise _cannot(tx, run, "stopped")
    tx.change("attempts_kill_of_run", run)
    tx.change("attempts_give_up", run)
    tx.tell("work")
    return changed


def resume(tx: Tx, run: RunId, now: float) -> Changed:
    """Go on with a run that was halted or paused; one that goes on or is done is left as it is."""
    state, name, _ = _run(tx, run)
    if state in ("open", "preparing", "done"):
        return _changed(tx, run)
    if state == "cancelled":
        raise StateError(
            f"{name} was cancelled", hint=f"corral retry {name} gives its tasks out again"
        )
    if state == "paused":
        return unpause(tx, run, now)
    changed = _turn(tx, run, "open", ["halted"], "resumed", now)
    tx.change("run_begin_limits", run)
    judge.finish_run(tx, run, now)
    return changed


def cancel(tx: Tx, run: RunId, tasks: Sequence[TaskId] | None, now: float) -> Changed:
    """Kill what runs and hand out nothing more, of the whole run or of some tasks."""
    state, name, generation = _run(tx, run)
    if tasks is not None:
        touched = tx.change("tasks_cancel", json.dumps(tasks))
        judge.finish_run(tx, run, now)
        tx.tell("work")
        return _changed(tx, run, tasks=touched)
    if state in ("done", "cancelled"):
        raise _cannot(tx, run, "cancelled")
    tx.change("run_forget_submission", run)
    touched = tx.change("tasks_cancel_all", run, generation)
    tx.change("run_set", run, "cancelled", "", '["open","paused","halted"]', now)
    tx.change("attempts_give_up", run)
    events.add(tx, now, "cancelled", run=run, name=name, text=f"{touched} tasks")
    tx.tell("work")
    tx.tell("run")
    return _changed(tx, run, tasks=touched)


def retry(tx: Tx, run: RunId, tasks: Sequence[TaskId] | None, now: float) -> Changed:
    """Give failed, cancelled, skipped and parked tasks out again, their failures forgiven."""
    _, name, generation = _run(tx, run)
    if tasks is None:
        touched = tx.change("tasks_retry_all", run, generation)
    else:
        touched = tx.change("tasks_retry", json.dumps(tasks))
    tx.change("failure_counts_clear", run)
    if touched:
        _reopen(tx, run)
        events.add(tx, now, "retried", run=run, name=name, text=f"{touched} tasks")
    return _changed(tx, run, tasks=touched)


def rerun(tx: Tx, run: RunId, tasks: Sequence[TaskId], now: float) -> Changed:
    """Give tasks out again whatever they are; results they have stop counting."""
    _, name, _ = _run(tx, run)
    ids = json.dumps(tasks)
    tx.change("attempts_supersede", ids)
    touched = tx.change("tasks_rerun", ids)
    if touched:
        _reopen(tx, run)
        events.add(tx, now, "rerun", run=run, name=name, text=f"{touched} tasks")
    return _changed(tx, run, tasks=touched)


def remove(tx: Tx, run: RunId, now: float) -> Changed:
    """Delete a run that is not under way; its blobs are swept by the caller.

    Raises:
        StateError: It is open or something of it still runs.
    """
    state, name, _ = _run(tx, run)
    if state in ("open", "preparing") or tx.value("run_live_attempts", run):
        raise StateError(f"{name} is under way", hint=f"corral cancel {name}, then corral rm")
    tx.change("run_delete", run)
    events.add(tx, now, "done", name=name, text="removed")
    return Changed(run=run, name=name, state="removed")


def detach(tx: Tx, run: RunId, now: float) -> Changed:
    """Have the run go on without a follower."""
    del now
    tx.change("run_detach", run)
    return _changed(tx, run)


def apply(tx: Tx, verb: str, run: RunId, tasks: Sequence[TaskId] | None, now: float) -> Changed:
    """Carry out the verb of that name; `TASK_VERBS` take tasks, the others a whole run."""
    match verb:
        case "cancel":
            return cancel(tx, run, tasks, now)
        case "retry":
            return retry(tx, run, tasks, now)
        case "rerun":
            return rerun(tx, run, tasks or (), now)
        case _:
            return RUN_VERBS[verb](tx, run, now)


RUN_VERBS = {
    "pause": pause,
    "unpause": unpause,
    "stop": stop,
    "kill": kill,
    "resume": resume,
    "rm": remove,
    "detach": detach,
}
TASK_VERBS = ("cancel", "retry", "rerun")


def _turn(
    tx: Tx,
    run: RunId,
    state: str,
    origins: list[str],
    event: EventKind,
    now: float,
    *,
    reason: str = "",
) -> Changed:
    if not tx.change("run_set", run, state, reason, json.dumps(origins), None):
        raise _cannot(tx, run, event)
    events.add(tx, now, event, run=run, name=_run(tx, run)[1], text=reason)
    tx.tell("work")
    tx.tell("run")
    return _changed(tx, run)


def _reopen(tx: Tx, run: RunId) -> None:
    tx.change("run_set", run, "open", "", '["done","cancelled","halted","paused"]', None)
    tx.change("run_begin_limits", run)
    tx.tell("work")
    tx.tell("run")


def _run(tx: Tx, run: RunId) -> tuple[str, str, int]:
    row = tx.row("run_state", run)
    if row is None:
        raise NotFoundError(f"run {run} is gone", hint="corral ls shows what there is")
    return row[0], row[1], row[2]


def _changed(tx: Tx, run: RunId, *, tasks: int = 0) -> Changed:
    state, name, _ = _run(tx, run)
    return Changed(run=run, name=name, state=state, tasks=tasks)


_WAYS = {
    "done": "it is done; corral rerun gives tasks out again",
    "cancelled": "it was cancelled; corral retry gives its tasks out again",
    "halted": "it is halted; corral resume goes on",
    "paused": "it is paused; corral unpause goes on",
    "open": "it is under way",
    "preparing": "it is still being prepared",
}


def _cannot(tx: Tx, run: RunId, what: str) -> StateError:
    state, name, _ = _run(tx, run)
    return StateError(f"{name} cannot be {what}: it is {state}", hint=_WAYS[state])
