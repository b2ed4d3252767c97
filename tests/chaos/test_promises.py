"""The looks that chaos takes see what is broken: each is shown a breach here."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from corral.engine import upkeep
from corral.ids import Incarnation
from tests.chaos import promises
from tests.chaos.promises import Blow
from tests.support.corral import Corral
from tests.support.wait import wait_until
from tests.support.world import Agent, World, ended

if TYPE_CHECKING:
    from pathlib import Path

NEEDLESS = "1-1-1-1 was given up on one, where nothing had touched it"


@pytest.fixture
def world() -> World:
    """A host that had a task and was given up, though its task goes on."""
    world = World()
    one = world.agent("a1", host="one", slots=1)
    world.submit("true 1")
    one.take()
    world.now += 10
    world.do(upkeep.lose_agent, Incarnation("a1"), why="too long", now=world.now)
    return world


def needless(world: World, *started: str, blows: tuple[Blow, ...] = ()) -> list[str]:
    return promises.needless(world.store._connection, started, blows)


def test_giving_up_what_nothing_had_touched_is_seen(world: World) -> None:
    assert needless(world, "1-1-1-1") == [NEEDLESS]


def test_it_is_seen_though_the_late_result_counted(world: World) -> None:
    one = Agent(world, "a1", slots=1)
    one.say(ended("1-1-1-1"), number=2)
    assert world.run().state == "done"
    assert needless(world, "1-1-1-1") == [NEEDLESS]


@pytest.mark.parametrize(
    ("kind", "host", "after_s", "is_excused"),
    [
        ("reboot", "one", 5, True),
        ("reboot", "two", 5, False),
        ("reboot", "one", 11, False),
        ("reboot", "one", -5, False),
        ("kill -9 of the link", "one", 5, False),
    ],
)
def test_only_what_costs_a_hosts_work_in_that_time_excuses_it(
    world: World, kind: str, host: str, after_s: float, is_excused: bool
) -> None:
    blow = Blow(kind=kind, host=host, struck=1_000_000.0 + after_s)
    assert needless(world, "1-1-1-1", blows=(blow,)) == ([] if is_excused else [NEEDLESS])


def test_what_was_never_started_cost_nothing(world: World) -> None:
    assert needless(world) == []


def test_starts_that_are_twice_or_on_no_record_are_seen(world: World) -> None:
    assert needless(world, "1-1-1-1", "1-1-1-1", "1-1-9-1")[:2] == [
        "1-1-9-1 was started and is not on record",
        "1-1-1-1 was started 2 times",
    ]


# ---------------------------------------------------------------- results and strays


@pytest.fixture
def quiet(tmp_path: Path) -> Corral:
    """The results of two tasks, as they should be."""
    corral = Corral(tmp_path)
    corral.write("results/x/results.csv", "task,n,state,exit\n1,1,done,0\n2,2,done,0\n")
    corral.write("results/x/output.txt", "task 1\ntask 2\n")
    corral.write("results/x/files/1.txt", "1\n")
    corral.write("results/x/files/2.txt", "1\n2\n")
    return corral


def test_results_of_a_quiet_run_are_whole(quiet: Corral) -> None:
    assert promises.lost(quiet, "x", 2) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("results.csv", "task,n,state,exit\n1,1,done,0\n"),
        ("results.csv", "task,n,state,exit\n1,1,done,0\n2,2,failed,1\n"),
        ("output.txt", "task 2\ntask 1\n"),
        ("files/2.txt", "1\n"),
        ("files/3.txt", ""),
    ],
)
def test_every_difference_from_a_quiet_run_is_seen(quiet: Corral, file: str, text: str) -> None:
    quiet.write(f"results/x/{file}", text)
    assert len(promises.lost(quiet, "x", 2)) == 1


def test_a_process_that_works_in_the_folder_is_seen(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "100"], cwd=tmp_path) as process:
        wait_until(lambda: list(promises.working_in(tmp_path)) == [process.pid])
        os.kill(process.pid, signal.SIGKILL)
    assert list(promises.working_in(tmp_path)) == []
