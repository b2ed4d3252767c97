"""What waits on a host behind tasks that take long, while another one could start it at once?

A ticket waits on its host because it was handed out ahead, so that a slot never waits for the
master, or because its task is large and room is kept for it there. Neither is worth much once
nothing has been started on that host for a while. Whoever has room then asks for it: the host is
told to give it back, which it does unless it was started, and is handed nothing of the run that
would wait there again, until the one that asked has had its turn.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from corral.engine.needs import Stock
from corral.ids import HostId, Incarnation, run_of

if TYPE_CHECKING:
    from corral.engine.needs import Key
    from corral.engine.parts import Parts
    from corral.store.base import Reader, Tx


def recall(
    tx: Tx, incarnation: Incarnation, host: HostId, *, free: int, stock: Stock, parts: Parts
) -> int:
    """Have as much come back from busy hosts as can be started here; gives the slots it will take."""
    stuck = parts.stuck()
    if not stuck:
        return 0
    taken = 0
    asked: set[Key] = set()
    kept = parts.kept.get(incarnation, "[]")
    for name, holder in tx.rows("tickets_stuck", json.dumps(stuck), host, kept):
        key = run_of(name)
        cpus = parts.get(tx, *key).needs.cpus
        if taken + cpus > free or stock.spare(key) < 1 or _has_room(tx, holder, key, parts):
            continue
        stock.add(key, 1)
        taken += cpus
        asked.add(key)
        if parts.recall(holder, name):
            tx.tell("work")  # its host may be waiting for an answer
    parts.asking[incarnation] = frozenset(asked)
    return taken


def is_asked_for(reader: Reader, key: Key, parts: Parts, *, but: Incarnation) -> bool:
    """Say whether another host has asked for what waits of a run, and can still have it."""
    for incarnation, asked in list(parts.asking.items()):
        if incarnation != but and key in asked:
            row = reader.row("agent_get", incarnation)
            if row is not None and row[5] == "up":
                return True
    return False


def _has_room(reader: Reader, holder: Incarnation, key: Key, parts: Parts) -> bool:
    """Say whether a host could start a task of a run: what waits there waits for its files."""
    row = reader.row("agent_get", holder)
    assert row is not None
    stock = Stock(reader, holder, HostId(row[0]), row[4], parts)
    running = [run_of(name) for name in parts.running.get(holder, ())]
    return stock.room(key) > (running.count(key) if stock.counts(key) else len(running))
