"""Whatever can be lost has someone who looks for it: agents that are gone, runs that can end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from corral.engine import events, judge
from corral.engine.judge import Known
from corral.ids import HostId, Incarnation
from corral.scheduler import health

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.model.host import HostState
    from corral.store.base import Tx


KEEPER = 1  # the number of the one master; several may share a database later


def start_agent(
    tx: Tx,
    incarnation: Incarnation,
    host: str,
    *,
    folder: str,
    slots: int,
    now: float,
    trouble: str = "",
    replaces: bool = False,
) -> None:
    """Write down an agent before it is started, so that a new master knows to look for it.

    ``trouble``: why the try before this one failed. ``replaces``: it takes the place of one that
    died, which ends no quarantine.
    """
    host_id = name_host(tx, host, slots=slots)
    tx.change("agent_new", incarnation, host_id, folder, slots, now)
    tx.change("host_join", host_id, trouble, replaces)
    tx.tell("host")


def place_agent(tx: Tx, incarnation: Incarnation, folder: str) -> None:
    """Write down where on its host an agent lives."""
    tx.change("agent_folder", incarnation, folder)


def revive_agent(tx: Tx, incarnation: Incarnation) -> None:
    """Let a dead incarnation speak once more: it hands in the spool that it left."""
    tx.change("agent_revive", incarnation)


def end_agent(
    tx: Tx, incarnation: Incarnation, *, why: str, host_state: HostState, now: float
) -> None:
    """The agent's processes are gone for good: what it held is lost, and waits for another."""
    row = tx.row("agent_get", incarnation)
    if row is None or row[2] == "ended":
        return
    tickets = [live[0] for live in tx.rows("attempts_live", incarnation)]
    if tickets:
        lose_all(tx, tickets, why=why, now=now)
    tx.change("agent_end", incarnation, now)
    tx.change("host_short", row[0], "")
    leave_host(tx, row[0], incarnation, host_state, why)
    tx.tell("host")


def lose_all(tx: Tx, tickets: Sequence[str], *, why: str, now: float) -> None:
    """Give up the attempts of an agent that is gone.

    A leased one may have been started since the last exchange: nobody is left to tell.
    """
    for found in tx.rows("attempts_known", json.dumps(list(tickets))):
        known = Known._make(found)
        judge.lose(tx, known, message=why, now=now)
        _park_if_it_kills(tx, known, now)
    events.add(tx, now, "lost", tickets=tickets, text=why)


def _park_if_it_kills(tx: Tx, known: Known, now: float) -> None:
    """Keep a task from more hosts that was running on several as they died."""
    killed = [row[0] for row in tx.rows("hosts_killed", known.task, known.epoch)]
    if not health.kills_hosts(len(killed)):
        return
    text = f"it was running on {len(killed)} hosts as they died: {', '.join(killed)}"
    if tx.change("task_park", known.task, text):
        events.add(
            tx, now, "parked", run=known.run, name=known.run_name, tickets=[known.ticket], text=text
        )
        judge.finish_run(tx, known.run, now)


def expect_hosts(tx: Tx, hosts: Sequence[str]) -> None:
    """Agents are about to be started on these hosts: they may be usable soon."""
    for name in hosts:
        tx.change("host_expect", name)
    tx.tell("host")


def note_host(tx: Tx, host: str, *, note: str) -> None:
    """Write down what is odd about a host though it works."""
    if tx.change("host_note", host, note):
        tx.tell("host")


def leave_agent(tx: Tx, incarnation: Incarnation, *, now: float) -> None:
    """A master ends and could not see this agent gone: say what may still be on its host.

    What it has of tasks that others have done ends here; for the rest the next master asks it.
    """
    row = tx.row("agent_get", incarnation)
    if row is None or row[2] == "ended":
        return
    text = f"an agent of this folder may be left: corral reap -w {row[1]}"
    tx.change("host_unclean", row[0], text)
    done_elsewhere = [live[0] for live in tx.rows("attempts_live", incarnation) if live[6]]
    if done_elsewhere:
        lose_all(tx, done_elsewhere, why="its host was not reached at the end", now=now)


def suspect_agent(tx: Tx, incarnation: Incarnation, *, why: str) -> None:
    """Nothing is heard of an agent: it gets no new work, and idle hosts may take its."""
    row = tx.row("agent_get", incarnation)
    if row is not None and row[2] != "ended" and tx.change("host_suspect", row[0], why):
        tx.tell("host")
        tx.tell("work")


def lose_agent(tx: Tx, incarnation: Incarnation, *, why: str, now: float) -> None:
    """Give up what an agent has; it may come back, and what it has finished then still counts."""
    row = tx.row("agent_get", incarnation)
    if row is None or row[2] == "ended":
        return
    tickets = [live[0] for live in tx.rows("attempts_live", incarnation)]
    if tickets:
        lose_all(tx, tickets, why=why, now=now)
    if row[5] not in ("lost", "quarantined"):
        tx.change("host_set", row[0], "lost", why)
        tx.tell("host")


def leave_host(
    tx: Tx, host: HostId, incarnation: Incarnation, state: HostState, reason: str
) -> None:
    """Say what becomes of a host whose agent has ended, unless another one is there."""
    if not tx.value("agent_beside", host, incarnation):
        tx.change("host_leave", host, state, reason)


def fail_host(tx: Tx, host: str, *, reason: str) -> None:
    """No agent can be started on the host."""
    tx.change("host_set", name_host(tx, host), "unreachable", reason)
    tx.tell("host")
    tx.tell("run")


def probe_host(tx: Tx, host: HostId) -> None:
    """Let a quarantined host show with one task that it works again."""
    if tx.change("host_probe", host):
        tx.tell("host")
        tx.tell("work")


def record_refusal(tx: Tx, text: str, now: float) -> None:
    """Somebody sent what no agent of ours would, or one that is not wanted any more speaks."""
    events.add(tx, now, "refused", text=text)


def name_host(tx: Tx, name: str, *, slots: int = 0) -> HostId:
    """Find the row of a host, or make it; ``slots`` that the user gives it, 0: as many as it has."""
    found = tx.row("host_of_name", name)
    if found is None:
        return HostId(tx.insert("host_new", name, slots or 1, KEEPER))
    if slots:
        tx.change("host_slots", found[0], slots)
    return HostId(found[0])
