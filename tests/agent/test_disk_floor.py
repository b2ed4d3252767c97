"""A full disk: nothing is started on it, what waits goes back, and it goes on when there is room."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.agent.conftest import Bed, lease
from tests.agent.support import agent, wait_until
from tests.agent.test_supervisor import World
from tests.support.smalldisk import small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.smalldisk import SmallDisk

MIB = 1 << 20
PART = {"disk_floor": 100 * MIB}


@pytest.fixture
def world() -> World:
    return World()


def test_below_the_floor_nothing_starts_and_what_waits_goes_back(world: World) -> None:
    world.disk.free = 99 * MIB
    world.lease(1, 2, 3, part=PART)
    assert world.running() == []
    assert {report["ended"] for report in world.ended().values()} == {"returned"}
    assert len(world.ended()) == 3
    assert world.port.said("short") == [
        "99 MiB free: below the disk floor of 100 MiB, it starts nothing"
    ]


def test_what_runs_goes_on_and_what_comes_later_goes_back_at_once(world: World) -> None:
    world.lease(1, part=PART)
    world.disk.free = 0
    world.tick(agent.ROOM_S)
    world.lease(2, part=PART)
    assert world.running() == ["t1"]
    world.lease(3, part=PART)
    world.tick(agent.TELL_S)
    assert list(world.ended()) == ["t2", "t3"]
    world.exit(1)
    assert world.ended()["t1"]["exit"] == 0


def test_when_there_is_room_it_starts_again(world: World) -> None:
    world.disk.free = 0
    world.lease(1, part=PART)
    world.tick(10.0)
    world.disk.free = 100 * MIB
    world.tick(agent.SHORT_S)
    assert world.port.said("short")[-1] == ""
    world.lease(2, part=PART)
    assert world.running() == ["t2"]


def test_a_run_without_a_floor_starts_on_a_full_disk(world: World) -> None:
    world.disk.free = 0
    world.lease(1, part={"disk_floor": 0})
    assert world.running() == ["t1"]


def test_a_new_link_is_told(world: World) -> None:
    world.disk.free = 0
    world.lease(1, part=PART)
    assert world.supervisor.table()["short"] == world.port.said("short")[0]


@pytest.mark.system("root")
class TestOnARealDisk:
    """A tmpfs of 200 MiB is the host's disk."""

    @pytest.fixture
    def disk(self) -> Iterator[SmallDisk]:
        path = Path(tempfile.mkdtemp(prefix="ct"))
        with small_disk(path, size=200 * MIB) as disk:
            yield disk
            disk.clear()
        path.rmdir()

    @pytest.fixture
    def base(self, disk: SmallDisk) -> Path:
        return disk.path

    def test_the_master_hears_of_it_and_of_its_end(self, bed: Bed, disk: SmallDisk) -> None:
        bed.start()
        disk.leave(80 * MIB)
        [first] = bed.run(lease(1, "true"), disk_floor=100 * MIB)
        assert (first.ended, first.message) == ("returned", "no room on the disk")
        wait_until(lambda: "below the disk floor" in bed.master.asked[-1].exchange.short)
        assert bed.master.asked[-1].exchange.want == 0
        disk.clear()
        wait_until(lambda: bed.master.asked[-1].exchange.short == "", 5, "there is room")
        [last] = bed.run(lease(2, "true"), disk_floor=100 * MIB)
        assert last.exit == 0
