"""What waits on a host behind tasks that take long, while another one could start it at once?

A ticket waits on its host because it was handed out ahead, so that a slot never waits for the
master, or because its task is large and room is kept for it there. Neither is worth much once
nothing has been started on that host for a while. Whoever has room then asks for it: the host is
told to give it back, which it does unless it was started, and is handed nothing of the run that
would wait there again, until the one that asked has had its turn.

A host with nothing free hears of that at its next beat only, so it is asked for as many short tasks
as the other one would be leased. No ticket goes to and fro: what a host gave back itself it asks for
only if it can start it at once, and where all slots have been taken for a while nothing waits.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

from corral.engine.needs import Stock
from corral.ids import HostId, Incarnation, run_of
from corral.scheduler import placement

if TYPE_CHECKING:
    from corral.engine.needs import Key
    from corral.engine.parts import Parts
    from corral.store.base import Reader, Tx


def recall(
    tx: Tx, incarnation: Incarnation, host: HostId, *, free: int, stock: Stock, parts: Parts
) -> int:
    """Have as much come back from busy hosts as is of use here; gives the slots it will take."""
    stuck = parts.stuck()
    if not stuck:
        return 0
    taken = 0
    asked: Counter[Key] = Counter()
    kept = parts.kept.get(incarnation, "[]")
    has_room = cache(lambda holder, key: _has_room(tx, holder, key, parts))
    lease = cache(lambda key: _lease_size(tx, host, key, free=free, stock=stock, parts=parts))
    for name, holder, gave_back in tx.rows("tickets_stuck", json.dumps(stuck), host, kept):
        key = run_of(name)
        cpus = parts.get(tx, *key).needs.cpus
        starts = taken + cpus <= free and stock.spare(key) > 0
        follows = not gave_back and not stock.counts(key) and asked[key] < lease(key)
        if not (starts or follows) or has_room(holder, key):
            continue
        if starts:
            stock.add(key, 1)
            taken += cpus
        asked[key] += 1
        if parts.recall(holder, name):
            tx.tell("work")  # its host may be waiting for an answer
    parts.asking[incarnation] = frozenset(asked)
    return taken


def would_wait(
    reader: Reader, key: Key, parts: Parts, *, incarnation: Incarnation, slots: int, hosts: int
) -> bool:
    """Say whether what an agent cannot start at once of a run had better stay for others."""
    if is_asked_for(reader, key, parts, but=incarnation):
        return True
    picky = parts.get(reader, *key).picky  # a large task waits there, so that it is not starved
    return hosts > 1 and not picky and parts.is_stuck(incarnation, slots)


def is_asked_for(reader: Reader, key: Key, parts: Parts, *, but: Incarnation) -> bool:
    """Say whether another host has asked for what waits of a run, and can still have it."""
    for incarnation, asked in list(parts.asking.items()):
        if incarnation != but and key in asked:
            row = reader.row("agent_get", incarnation)
            if row is not None and row[5] == "up":
                return True
    return False


def _lease_size(
    reader: Reader, host: HostId, key: Key, *, free: int, stock: Stock, parts: Parts
) -> int:
    """Say how many tickets of a run a host would be leased that is alone with those that wait.

    Near the end a lease is but a part of what is left, for the others' sake; here they cannot help.
    """
    run, generation = key
    own = (reader.row("host_run_get", host, run) or (0, 0, 0))[0]
    slots = placement.usable_slots(
        slots=min(stock.slots, parts.get(reader, run, generation).slots or stock.slots),
        probation=False,
        successes=own,
        hosts=reader.value("hosts_usable", run),
    )
    learned = parts.learned(reader, run, generation)
    return placement.lease_size(
        slots=slots,
        held=stock.slots - free,
        typical_s=learned.typical_s,
        successes=min(own, learned.successes),
        waiting=placement.DEEPEST * slots,
        hosts=1,
    )


def _has_room(reader: Reader, holder: Incarnation, key: Key, parts: Parts) -> bool:
    """Say whether a host could start a task of a run: what waits there waits for its files."""
    row = reader.row("agent_get", holder)
    assert row is not None
    stock = Stock(reader, holder, HostId(row[0]), row[4], parts)
    running = [run_of(name) for name in parts.running.get(holder, ())]
    return stock.room(key) > (running.count(key) if stock.counts(key) else len(running))
