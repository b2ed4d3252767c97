"""What must hold after any history of faults; each check says how often it looked."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.support.world import World


class BrokenError(AssertionError):
    """A promise was broken."""


def check(
    world: World, *, starts: Iterable[str], expected: Callable[[int], tuple[int, bytes]]
) -> int:
    """Check a finished world; gives the number of checks.

    ``starts`` are the tickets that processes were started for; ``expected(task)`` is the exit code
    and the output that a task of that number has, whatever happens.
    """
    rows = world.store._connection.execute(
        "select t.number, t.state, t.accepted, a.id, a.ticket, a.outcome, a.state, a.reason,"
        " a.exit, o.stdout from task t left join attempt a on a.task_id = t.id"
        " left join output o on o.attempt_id = a.id order by t.number, a.number"
    ).fetchall()
    checks = 0
    accepted: Counter[int] = Counter()
    outcomes: dict[int, tuple[str, int | None]] = {}
    tickets: set[str] = set()
    for task, state, wins, attempt, ticket, outcome, attempt_state, reason, code, stdout in rows:
        outcomes[task] = (state, wins)
        if attempt is None:
            raise BrokenError(f"task {task} was never started")
        tickets.add(ticket)
        checks += 4
        if not reason:
            raise BrokenError(f"{ticket} was started for no reason")
        if attempt_state != "ended":
            raise BrokenError(f"{ticket} is still {attempt_state}")
        if outcome == "accepted":
            accepted[task] += 1
            if wins != attempt:
                raise BrokenError(f"{ticket} is accepted, but not task {task}'s result")
            if (code, stdout or b"") != (0, expected(task)[1]):
                raise BrokenError(f"{ticket} has another output than task {task} writes")
    for task, (state, _) in outcomes.items():
        checks += 2
        wanted = "done" if expected(task)[0] == 0 else "failed"
        if state != wanted:
            raise BrokenError(f"task {task} is {state}, not {wanted}")
        if accepted[task] != (1 if wanted == "done" else 0):
            raise BrokenError(f"task {task} has {accepted[task]} accepted results")
    started = Counter(starts)
    for ticket, times in started.items():
        checks += 2
        if times > 1:
            raise BrokenError(f"{ticket} was started {times} times")
        if ticket not in tickets:
            raise BrokenError(f"{ticket} was started and is not on record")
    if world.recount() != {s: n for s, n in world.run().counts.items() if n}:
        raise BrokenError(f"counted {world.run().counts}, there are {world.recount()}")
    return checks + 1
