"""What becomes of an attempt that ended: accepted, rejected, superseded, failed, given back, lost.

Every function is called inside one transaction and leaves the task in a state that follows from
its attempts. The first valid result wins; a late one is judged like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from corral.engine import events, limits
from corral.ids import AttemptId, HostId, RunId, TaskId  # noqa: TC001  (Known is made at run time)
from corral.model.attempt import Reason  # noqa: TC001
from corral.model.base import Frozen
from corral.model.run import Options
from corral.scheduler import health, retry

if TYPE_CHECKING:
    from corral.store.base import Tx

MOST_AGAIN = 100  # attempts of a task; a program that still asks for another never will be content
LAST = 200  # characters of the failure that has a host quarantined
NO_VERDICT = "no verdict"  # how the reason of a pause by `no_verdict` begins


class Known(NamedTuple):
    """An attempt with what judging it needs: a row of the query ``attempts_known``."""

    ticket: str
    id: AttemptId
    task: TaskId
    state: str
    outcome: str | None
    incarnation: str
    digest: str | None
    epoch: int
    number: int
    host: HostId
    task_state: str
    task_epoch: int
    run: RunId
    generation: int
    task_number: int
    charged: int
    run_generation: int
    run_state: str
    run_name: str
    reason: Reason  # why it was handed out

    @property
    def counts(self) -> bool:
        """Say whether a result of it would still be wanted."""
        return (
            self.epoch == self.task_epoch
            and self.generation == self.run_generation
            and self.run_state != "cancelled"
            and (
                self.task_state in ("waiting", "active", "parked")
                or (self.task_state == "failed" and self.run_state != "done")
            )
        )


class Verdict(Frozen, frozen=True, kw_only=True):
    """What a check says of a reported attempt."""

    ok: bool
    reason: str = ""  # why it is rejected


def judge(tx: Tx, attempt: AttemptId, verdict: Verdict, now: float) -> None:
    """Accept or reject a reported attempt; one that was judged before is left as it is."""
    row = tx.row("attempt_known", attempt)
    if row is None:
        return  # its run was removed meanwhile
    known = Known._make(row)
    if known.state != "reported":
        return
    if verdict.ok:
        accept(tx, known, now)
    else:
        events.add(
            tx, now, "rejected", run=known.run, name=known.run_name,
            tickets=[known.ticket], text=verdict.reason,
        )  # fmt: skip
        fail(tx, known, kind=None, message=verdict.reason, now=now)
    finish_run(tx, known.run, now)


def no_verdict(tx: Tx, attempt: AttemptId, reason: str, now: float) -> None:
    """Note that a check could not say; after three times the run pauses and names it.

    The result is kept as it is, and is looked at again when the run goes on.
    """
    row = tx.row("attempt_known", attempt)
    if row is None or not tx.change("attempt_no_verdict", attempt):
        return  # its run was removed, or it was judged meanwhile
    if not tx.value("attempt_given_up", attempt):
        tx.tell("judge")
        return
    known = Known._make(row)
    text = f"{NO_VERDICT} on task {known.task_number}: {reason}"
    if tx.change("run_set", known.run, "paused", text, '["open"]', None):
        events.add(
            tx, now, "paused", run=known.run, name=known.run_name, text=text,
            tickets=[known.ticket],
        )  # fmt: skip
    tx.tell("run")
    tx.tell("work")


def accept(tx: Tx, known: Known, now: float) -> bool:
    """Make it the task's result, if the task has none yet; else it is superseded."""
    if known.counts and tx.change("task_accept", known.task, known.id, known.epoch):
        tx.change("attempt_end", known.id, "accepted", None, None, now)
        tx.change("host_run_success", known.host, known.run, 1)
        tx.change("host_prove", known.host)
        if tx.value("attempts_live_of_task", known.task, known.id):
            tx.tell("work")  # its twins are to be killed
        return True
    supersede(tx, known, now)
    return False


def supersede(tx: Tx, known: Known, now: float) -> None:
    """End an attempt whose result is not wanted any more."""
    tx.change("attempt_end", known.id, "superseded", None, None, now)
    _settle(tx, known, "lost")


def fail(
    tx: Tx,
    known: Known,
    *,
    kind: str | None,
    message: str,
    now: float,
    fatal: bool = False,
) -> None:
    """End an attempt that failed (``kind``) or was rejected (None); its task waits or fails.

    ``fatal``: its program says that no other attempt would help.
    """
    outcome = "rejected" if kind is None else "failed"
    if not known.counts:
        tx.change("attempt_end", known.id, outcome, message, None, now)
        _settle(tx, known, "failed")
        return
    record = health.HostRecord(*(tx.row("host_run_get", known.host, known.run) or (0, 0, 0)))
    others = max(0, tx.value("hosts_usable", known.run) - 1)
    _, successes, options, trusted = tx.row("run_learned", known.run, known.generation) or (
        None,
        0,
        "{}",
        0,
    )
    asked = msgspec.json.decode(options, type=Options)
    grows = kind == "oom" and limits.may_grow(tx, known.ticket, asked)
    decision = retry.decide(
        retry.Failure(
            kind=kind,
            charged=known.charged,
            retries=asked.retries,
            host_succeeded=bool(record.successes),
            others_succeeded=bool(tx.value("host_run_others", known.host, known.run)),
            untried=tx.value(
                "hosts_untried", known.task, known.host, known.epoch, known.run, health.HOPELESS
            ),
            others=others,
            fatal=fatal,
            grows=grows,
        )
    )
    tx.change("attempt_end", known.id, outcome, message, decision.blame, now)
    charge = 0 if decision.free else 1
    if tx.value("attempts_live_of_task", known.task, known.id):
        tx.change("task_charge", known.task, charge)
    elif decision.again:
        reason: Reason = "rejected" if kind is None else "failed"
        tx.change("task_wait", known.task, reason, charge, message)
        tx.tell("work")
    else:
        tx.change("task_fail", known.task, message, charge)
        limits.after_failure(tx, known.run, known.run_name, asked, now)
    if grows:
        return  # nobody failed: it is known now what the task needs
    tx.change("failure_count_add", known.run, known.generation, kind or "rejected", known.host)
    if decision.blame == "host":
        _blame_host(tx, known, message, now=now, usable=others + 1)
    if not successes and not trusted:
        _pause_if_bad(tx, known, now=now, usable=others + 1)


def give_back(tx: Tx, known: Known, *, message: str, now: float) -> None:
    """End an attempt that came back unstarted or at an orderly goodbye; nobody is charged."""
    tx.change("attempt_end", known.id, "returned", message, None, now)
    begun = known.state == "running" or tx.value("task_begun", known.task)
    _settle(tx, known, "lost" if begun else known.reason)


def put_back(tx: Tx, known: Known, *, message: str, now: float) -> None:
    """End an attempt whose program asks for another one; nobody is charged, up to a bound."""
    if known.number >= MOST_AGAIN:
        fail(tx, known, kind="exit", message=f"{message}, {MOST_AGAIN} times", now=now, fatal=True)
        return
    tx.change("attempt_end", known.id, "returned", message, None, now)
    _settle(tx, known, "asked")


def skip(tx: Tx, known: Known, *, message: str, now: float) -> None:
    """End an attempt whose program says that there is nothing to do: its task is skipped."""
    tx.change("attempt_end", known.id, "returned", message, None, now)
    if not known.counts:
        _settle(tx, known, "lost")
    elif tx.change("task_skip", known.task, message):
        tx.tell("work")  # its twins are to be killed


def killed(tx: Tx, known: Known, *, message: str, now: float) -> None:
    """End an attempt that was killed because the master asked for it."""
    tx.change("attempt_end", known.id, "killed", message, None, now)
    _settle(tx, known, "asked")


def lose(tx: Tx, known: Known, *, message: str, now: float) -> None:
    """Give up an attempt whose agent is gone; if it reports after all, it is judged."""
    tx.change("attempt_end", known.id, "lost", message, None, now)
    _settle(tx, known, "lost")


def finish_run(tx: Tx, run: RunId, now: float) -> None:
    """Close the run when nothing of it waits or is active."""
    if tx.change("run_finish", run, now):
        events.add(tx, now, "done", run=run, name=(tx.row("run_state", run) or ("", ""))[1])
        tx.tell("run")


def _settle(tx: Tx, known: Known, reason: Reason) -> None:
    """Put the task back in the queue, unless another attempt of it is under way or it has ended."""
    if tx.value("attempts_live_of_task", known.task, known.id):
        return
    tx.tell("run")  # a run at rest, done or halted, may have waited for this attempt alone
    if tx.change("task_wait", known.task, reason, 0, ""):
        tx.tell("work")


def _blame_host(tx: Tx, known: Known, message: str, *, now: float, usable: int) -> None:
    tx.change("host_run_blame", known.host, known.run)
    record = health.HostRecord(*(tx.row("host_run_get", known.host, known.run) or (0, 0, 0)))
    if not health.sick(record, usable_hosts=usable):
        return
    name = tx.value("host_name", known.host)
    text = (
        f"{record.blamed} failures blamed on it, {record.successes} successes; the last:"
        f" {message[:LAST]}"
    )
    tx.change("host_set", known.host, "quarantined", text)
    events.add(
        tx, now, "quarantined", run=known.run, name=known.run_name, host=name, text=text,
        tickets=[known.ticket],
    )  # fmt: skip
    tx.tell("host")


def _pause_if_bad(tx: Tx, known: Known, *, now: float, usable: int) -> None:
    failures = tx.rows("failure_counts", known.run, known.generation)
    kind = health.bad_command(
        [(kind, times, hosts) for kind, times, hosts in failures],
        successes=0,
        usable_hosts=usable,
    )
    if kind is None:
        return
    text = (
        f"the command seems bad: {health.BAD_COMMAND} tasks failed alike ({kind}), none succeeded"
    )
    if tx.change("run_set", known.run, "paused", text, '["open"]', None):
        events.add(tx, now, "paused", run=known.run, name=known.run_name, text=text)
        tx.tell("run")
        tx.tell("work")  # what is leased and not started goes back
