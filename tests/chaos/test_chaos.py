"""A run on real hosts keeps every promise while they are cut, killed, frozen, filled and rebooted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos import chaos
from tests.chaos.faults import DEATH, FAULTS, FULL, MASTER
from tests.chaos.plan import Plan

if TYPE_CHECKING:
    from pathlib import Path

PLAN = Plan(seed=7, hosts=4, tasks=120, faults=16)


@pytest.mark.slow
@pytest.mark.system("sshd")
@pytest.mark.system("nft")
@pytest.mark.system("root")
@pytest.mark.timeout(300)  # half a minute on an idle machine; every fault may cost ten seconds
def test_every_promise_is_kept_on_real_hosts_under_every_kind_of_fault(tmp_path: Path) -> None:
    found = chaos.run(PLAN, tmp_path)
    assert found.broken == []
    assert found.faults == dict.fromkeys([*FAULTS, MASTER], 1)
    assert found.starts > PLAN.tasks, "some work was lost"


def test_a_seed_draws_the_same_faults_again() -> None:
    assert PLAN.steps() == PLAN.steps()
    assert PLAN.steps() != Plan(seed=8, hosts=4, tasks=120, faults=16).steps()


@pytest.mark.parametrize("hosts", [3, 4, 8])
def test_two_hosts_survive_every_plan_and_only_one_of_them_can_be_filled(hosts: int) -> None:
    plan = Plan(seed=1, hosts=hosts, tasks=2000, faults=320)
    deaths = [step for step in plan.steps() if step.kind == DEATH]
    assert len(deaths) == hosts - 2
    assert not any({"h1", "h2"} & set(step.hosts) for step in deaths)
    assert {"h1", "h2"} & set(plan.small) == {"h1"}
    assert all(set(step.hosts) == set(plan.small) for step in plan.steps() if step.kind == FULL)


def test_faults_are_spread_over_the_run() -> None:
    at = [step.at for step in PLAN.steps()]
    assert at == sorted(set(at))
    assert at[0] > 0
    assert at[-1] < PLAN.tasks - 1
