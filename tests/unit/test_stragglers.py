"""When is a task late, who may help, and how often: policy and engine."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.clock import SystemClock
from corral.engine.parts import Parts
from corral.errors import StoreError
from corral.master.exchanges import Exchanges
from corral.protocol import Exchange, Reply
from corral.scheduler import stragglers
from corral.scheduler.stragglers import Learned
from corral.store.sqlite import SqliteTx
from tests.support.world import Agent, World, ended


def learned(*seconds: float) -> Learned:
    found = Learned()
    for value in seconds:
        found = found.plus(value)
    return found


def test_nobody_is_late_before_enough_is_known() -> None:
    assert stragglers.late_after_s(learned(1, 1, 1, 1)) is None
    assert stragglers.late_after_s(learned(1, 1, 1, 1, 1)) == pytest.approx(3.0)


def test_short_tasks_are_late_only_after_what_a_twin_costs() -> None:
    assert stragglers.late_after_s(learned(*[0.01] * 9)) == pytest.approx(1.01)


def test_a_wide_spread_makes_patient() -> None:
    after_s = stragglers.late_after_s(learned(*[1, 30] * 10))
    assert after_s is not None
    assert after_s > 300


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_what_is_learned_stays_among_what_was_seen(seconds: list[float]) -> None:
    found = learned(*seconds)
    low, high = (max(value, stragglers.SHORTEST_S) for value in (min(seconds), max(seconds)))
    assert low * 0.999 <= found.median_s <= high * 1.001
    assert found.log_deviation >= 0
    assert found.successes == len(seconds)


def test_a_slow_host_is_no_help() -> None:
    found = learned(*[1.0] * 9)
    assert stragglers.may_help(found, host_log_mean=None)
    assert stragglers.may_help(found, host_log_mean=math.log(1.4))
    assert not stragglers.may_help(found, host_log_mean=math.log(1.6))


# ---------------------------------------------------------------- the engine


def late_world(**options: Any) -> tuple[World, Agent, Agent, str]:
    """Make a world where host two has the run's last task for far too long, and host one is idle."""
    world = World()
    one, two = world.agent("a1", host="one", slots=1), world.agent("a2", host="two", slots=1)
    world.submit("true {1..7}", **options)
    slow = two.take()[0]
    leases = one.say().leases
    while leases:
        [lease] = leases
        leases = one.say(ended(lease.ticket, seconds=0.5)).leases
    two.running = [slow]
    two.running_s = 60.0
    two.say()
    return world, one, two, slow


def test_a_late_task_gets_one_twin_on_an_idle_host() -> None:
    world, one, two, slow = late_world()
    [twin] = [lease.ticket for lease in one.say().leases]
    assert world.attempts()[1][:2] == (1, "straggler")
    assert world.events().count("twin") == 1
    three = world.agent("a3", host="three", slots=1)
    assert three.say().leases == ()
    one.say(ended(twin))
    assert two.say().drop == (slow,)
    assert world.run().state == "done"


def test_a_twin_that_could_not_be_stored_is_offered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: the task counted as one that has its twin, though that was never handed out."""
    world, one, _, slow = late_world()
    exchanges = Exchanges(world.store, SystemClock())
    exchanges.parts = world.parts
    asked = Exchange(incarnation=one.name, number=one.number + 1, want=1)
    change_each = SqliteTx.change_each

    def fill_up(tx: SqliteTx, name: str, rows: Any) -> int:
        if name == "attempt_new":
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return change_each(tx, name, rows)

    with monkeypatch.context() as full:
        full.setattr(SqliteTx, "change_each", fill_up)
        with pytest.raises(StoreError):
            asyncio.run(exchanges.answer(asked))
    assert world.parts.late() == [slow]
    reply = asyncio.run(exchanges.answer(asked))
    assert isinstance(reply, Reply)
    assert [lease.attempt for lease in reply.leases] == [2]


def test_the_next_master_knows_at_once_what_is_late() -> None:
    """Bug: it knew nothing of how long tasks take before it had seen another one succeed."""
    world, one, two, slow = late_world()
    world.parts = Parts()
    two.say()
    assert world.parts.late() == [slow]
    assert len(one.say().leases) == 1


def test_no_twins_if_the_user_says_so() -> None:
    _, one, _, _ = late_world(twins=False)
    assert one.say().leases == ()


def test_a_task_that_is_simply_long_does_not_get_twin_after_twin() -> None:
    world, one, _, _ = late_world()
    for _ in range(stragglers.MOST_TWINS):
        [twin] = [lease.ticket for lease in one.say().leases]
        one.say(ended(twin, exit_code=1))  # it comes to nothing
        world.parts.twinned.clear()
        one = world.agent(f"b{len(world.hosts)}", host=f"host{len(world.hosts)}", slots=1)
    assert one.say().leases == ()


def test_the_host_that_has_it_gives_itself_no_twin() -> None:
    world, _, two, slow = late_world()
    two.held = [slow]
    world.do(lambda tx: tx.change("agent_slots", "a2", 4))
    assert two.say().leases == ()
