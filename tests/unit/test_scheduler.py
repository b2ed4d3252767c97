"""Policy is arithmetic: leases, blame, retries, health."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.scheduler import health, placement, retry
from corral.scheduler.health import HostRecord
from corral.scheduler.retry import Failure


def failure(**changes: object) -> Failure:
    facts: dict[str, object] = {
        "kind": "exit", "charged": 0, "retries": None, "host_succeeded": True,
        "others_succeeded": True, "untried": 2, "others": 2,
    }  # fmt: skip
    return Failure(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "blame", "again"),
    [
        ({}, "task", True),
        ({"charged": 2}, "task", False),
        ({"others": 0, "untried": 0}, "task", False),
        ({"others": 0, "untried": 0, "retries": 1}, "task", True),
        ({"retries": 0}, "task", False),
        ({"kind": "spawn"}, "host", True),
        ({"kind": "spawn", "charged": 9}, "host", True),
        ({"kind": "env", "untried": 0, "others": 0}, "host", False),
        ({"host_succeeded": False}, "host", True),
        ({"host_succeeded": False, "others_succeeded": False}, "task", True),
        ({"kind": None}, "task", True),
    ],
)
def test_who_is_to_blame_and_is_there_another_attempt(
    facts: dict[str, object], blame: str, again: bool
) -> None:
    decision = retry.decide(failure(**facts))
    assert (decision.blame, decision.again) == (blame, again)


@given(st.integers(0, 5))
def test_n_retries_are_n_more_attempts(retries: int) -> None:
    charged = 0
    while retry.decide(failure(charged=charged, retries=retries)).again:
        charged += 1
    assert charged == retries


def test_a_long_task_is_leased_one_per_free_slot() -> None:
    leased = placement.lease_size(
        slots=4, held=3, typical_s=10.0, successes=50, waiting=100, hosts=1
    )
    assert leased == 1


def test_tiny_tasks_come_in_batches_that_grow_with_what_was_learned() -> None:
    sizes = [
        placement.lease_size(slots=2, held=0, typical_s=0.001, successes=n, waiting=10**6, hosts=1)
        for n in (0, 1, 4, 100, 10_000)
    ]
    assert sizes == [2, 2, 8, 200, 1000]


@given(
    st.integers(1, 64), st.integers(0, 2000), st.none() | st.floats(0.0001, 100),
    st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 100),
)  # fmt: skip
def test_a_lease_never_exceeds_what_waits_nor_what_a_message_bears(
    slots: int, held: int, typical_s: float | None, successes: int, waiting: int, hosts: int
) -> None:
    size = placement.lease_size(
        slots=slots,
        held=held,
        typical_s=typical_s,
        successes=successes,
        waiting=waiting,
        hosts=hosts,
    )
    assert 0 <= size <= min(waiting, slots * placement.DEEPEST)
    if waiting and held < slots and hosts == 1:
        assert size > 0


def test_a_new_host_among_several_starts_with_one_slot_and_doubles() -> None:
    slots = [
        placement.usable_slots(slots=8, probation=False, successes=n, hosts=3) for n in (0, 1, 2, 4)
    ]
    assert slots == [1, 2, 4, 8]
    assert placement.usable_slots(slots=8, probation=False, successes=0, hosts=1) == 8
    assert placement.usable_slots(slots=8, probation=True, successes=9, hosts=3) == 1


def test_a_task_is_kept_for_each_host_that_is_being_reached() -> None:
    open_to = placement.open_to
    assert [open_to(waiting=n, awaited=2, took_part=True) for n in (0, 1, 2, 3, 30)] == [
        0, 0, 0, 1, 28,
    ]  # fmt: skip
    assert [open_to(waiting=n, awaited=2, took_part=False) for n in (0, 1, 3)] == [0, 1, 1]
    assert open_to(waiting=5, awaited=0, took_part=True) == 5


def test_a_sick_host_is_told_from_a_bad_command() -> None:
    assert health.sick(HostRecord(0, 3, 3), usable_hosts=2)
    assert not health.sick(HostRecord(0, 3, 3), usable_hosts=1)
    assert not health.sick(HostRecord(9, 4, 4), usable_hosts=2)
    assert health.sick(HostRecord(9, 5, 5), usable_hosts=2)
    bad = health.bad_command
    assert bad([("exit", 20, 1)], successes=0, usable_hosts=1) == "exit"
    assert bad([("exit", 19, 1), ("spawn", 19, 1)], successes=0, usable_hosts=1) is None
    assert bad([("exit", 40, 2)], successes=0, usable_hosts=5) is None
    assert bad([("exit", 40, 3)], successes=1, usable_hosts=5) is None
