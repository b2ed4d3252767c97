"""How many tasks does a host get now?"""

from __future__ import annotations

import math

BATCH_S = 0.5  # of work per slot in one lease: hides the way to the master, is cheap to give back
DEEPEST = 1000  # leases per slot at the most: bounds a message
LEAST_S = 0.05  # ... near the end, too: more than the way to the master costs
LONG_S = BATCH_S / 2  # a task at least so long is leased one per free slot
AWAIT_S = 1.0  # after a run began: so long a task is kept for each host that is being reached


def depth(typical_s: float | None, successes: int) -> int:
    """Say how many tasks a slot may hold, running one included.

    ``typical_s`` is the learned time of a task (None: nothing learned yet). The depth never
    outgrows what was learned from: it at most doubles with the number of successes.
    """
    if typical_s is None or typical_s >= LONG_S:
        return 1
    return max(1, min(DEEPEST, successes, math.ceil(BATCH_S / max(typical_s, 1e-4))))


def lease_size(
    *,
    slots: int,
    held: int,
    typical_s: float | None,
    successes: int,
    waiting: int,
    hosts: int,
) -> int:
    """Say how many new leases a host gets that has ``slots`` and holds ``held`` tickets.

    ``waiting`` tasks are left to share among ``hosts`` usable ones: near the end each gets a part
    of what is left rather than a full batch, so that all end together.
    """
    wanted = slots * depth(typical_s, successes)
    if hosts > 1:
        least = slots * max(1, math.ceil(LEAST_S / max(typical_s or LEAST_S, 1e-4)))
        wanted = min(wanted, max(least, math.ceil(waiting / (2 * hosts))))
    return max(0, min(wanted - held, waiting))


def open_to(*, waiting: int, awaited: int, took_part: bool) -> int:
    """Say how many of the ``waiting`` tasks a host may have; one is kept for each ``awaited`` host.

    So every host takes part in a run of short tasks, not only the one that was reached first. Who
    has not taken part yet may have one in any case.
    """
    return max(waiting - awaited, 0 if took_part else min(1, waiting))


def usable_slots(*, slots: int, probation: bool, successes: int, hosts: int) -> int:
    """Say how many slots of a host may be used now.

    A new host among several starts with one and doubles with its successes, so that one that only
    fails costs little; one on ``probation`` after its quarantine has one. A host that is alone has
    all.
    """
    if hosts <= 1:
        return slots
    return 1 if probation else min(slots, max(1, 2 * successes))
