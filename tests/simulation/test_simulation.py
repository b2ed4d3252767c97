"""The simulation keeps every promise over many seeds, repeats itself, and finds planted bugs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from corral.engine import judge, upkeep
from tests.simulation.run import simulate

if TYPE_CHECKING:
    from collections.abc import Callable

SEEDS = range(1, 41)


@pytest.mark.timeout(120)  # forty worlds; about ten seconds on an idle machine
def test_every_promise_is_kept_over_forty_seeds() -> None:
    outcomes = [simulate(seed) for seed in SEEDS]
    assert [(found.seed, found.broken) for found in outcomes if found.broken] == []
    assert sum(sum(found.faults.values()) for found in outcomes) > 300
    assert all(found.checks > found.tasks for found in outcomes)


def test_the_same_seed_has_the_same_history() -> None:
    seeds = (3, 7, 11)
    assert [simulate(seed) for seed in seeds] == [simulate(seed) for seed in seeds]


def test_without_faults_nothing_is_started_twice() -> None:
    found = simulate(5, faults=False)
    assert (found.broken, sum(found.faults.values())) == ("", 0)


def _forget(tx: Any, *_: Any, **__: Any) -> None:
    """Give nothing up when an agent dies."""
    del tx


def _leave_active(tx: Any, known: Any, *, message: str, now: float) -> None:
    """End an attempt and leave its task as if it still ran."""
    tx.change("attempt_end", known.id, "lost", message, None, now)


BUGS: dict[str, tuple[object, str, Callable[..., Any]]] = {
    "a dead agent's work is forgotten": (upkeep, "lose_all", _forget),
    "a lost attempt leaves its task active": (judge, "lose", _leave_active),
}


@pytest.mark.timeout(120)  # a world that hangs runs to the end of its virtual time
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, planted = BUGS[bug]
    monkeypatch.setattr(where, name, planted)
    assert any(simulate(seed).broken for seed in SEEDS)
