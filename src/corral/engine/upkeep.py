"""Whatever can be lost has someone who looks for it: agents that are gone, runs that can end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

from corral.engine import events, judge
from corral.engine.judge import Known
from corral.ids import HostId, Incarnation, RunId
from corral.model.run import Submission

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.model.host import HostState
    from corral.store.base import Reader, Tx


KEEPER = 1  # the number of the one master; several may share a database later


def start_agent(
    tx: Tx, incarnation: Incarnation, host: str, *, folder: str, slots: int, now: float
) -> None:
    """Write down an agent before it is started, so that a new master knows to look for it."""
    host_id = _host(tx, host, slots=slots)
    tx.change("agent_new", incarnation, host_id, folder, slots, now)
    tx.change("host_set", host_id, "joining", "")


def set_slots(tx: Tx, incarnation: Incarnation, slots: int) -> None:
    """Change how many tasks an agent may run at once; its next reply says so."""
    tx.change("agent_slots", incarnation, slots)
    tx.tell("work")


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
    tx.change("host_set", row[0], host_state, why)


def lose_all(tx: Tx, tickets: Sequence[str], *, why: str, now: float) -> None:
    """Give up the attempts of an agent that is gone.

    A leased one may have been started since the last exchange: nobody is left to tell.
    """
    for found in tx.rows("attempts_known", json.dumps(list(tickets))):
        judge.lose(tx, Known._make(found), message=why, now=now)
    events.add(tx, now, "lost", tickets=tickets, text=why)


def fail_host(tx: Tx, host: str, *, reason: str) -> None:
    """No agent can be started on the host."""
    tx.change("host_set", _host(tx, host, slots=1), "unreachable", reason)
    tx.tell("run")


def half_written(reader: Reader) -> list[tuple[RunId, Submission]]:
    """List the submissions that a master left half-written; doing them again finishes them."""
    return [
        (RunId(run), msgspec.json.decode(text, type=Submission))
        for run, _, text in reader.rows("run_preparing")
    ]


def _host(tx: Tx, name: str, *, slots: int) -> HostId:
    found = tx.row("host_of_name", name)
    if found is None:
        return HostId(tx.insert("host_new", name, slots, KEEPER))
    tx.change("host_slots", found[0], slots)
    return HostId(found[0])
