"""A task that writes too much: head and tail come home, the disk is given back meanwhile."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.agent import fakes
from tests.agent.conftest import Bed, lease
from tests.agent.support import agent, pythons, wait_until
from tests.agent.test_supervisor import World

CAP = 100_000
NUMBERS = b"".join(b"%d\n" % n for n in range(1, 100_001))


def cut(data: bytes, cap: int) -> bytes:
    """Say what is kept of a stream."""
    head, tail = data[: cap // 2], data[-(cap - cap // 2) :]
    left_out = len(data) - cap
    newline = b"" if head.endswith(b"\n") else b"\n"
    return head + newline + b"[corral: %d bytes left out here]\n" % left_out + tail


@pytest.mark.parametrize("python", [pythons()[0], pythons()[-1]], ids=["oldest", "newest"])
def test_head_and_tail_of_a_long_stream_come_home(bed: Bed, python: str) -> None:
    bed.python = python
    bed.start()
    [report] = bed.run(lease(1, line="seq 100000; echo short >&2"), output_cap=CAP)
    assert (report.ended, report.exit) == ("exited", 0)
    assert report.message == f"stdout: {len(NUMBERS) - CAP} of {len(NUMBERS)} bytes left out"
    data = bytes(bed.master.files[report.ticket, 0])
    assert data == cut(NUMBERS, CAP)
    assert report.stdout.size == len(data)
    assert report.stdout.sha256 == hashlib.sha256(data).hexdigest()
    assert report.stderr.inline == b"short\n"


def test_a_stream_that_is_short_once_it_is_cut_travels_in_the_report(bed: Bed) -> None:
    bed.start()
    first, second = bed.run(
        lease(1, line="seq 100000 >&2; exit 3"), lease(2, "echo", "next"), output_cap=2000
    )
    assert (first.ended, first.exit) == ("exited", 3)
    assert first.stderr.inline == cut(NUMBERS, 2000)
    assert "stderr" in first.message
    assert second.stdout.inline == b"next\n"  # the slot's file is empty again


def test_the_disk_never_holds_much_more_than_the_cap(bed: Bed, base: Path) -> None:
    bed.start()
    go = base / "go"
    size, cap = 300 << 20, 8 << 20
    line = f"head -c {size} /dev/zero; while ! test -e {go}; do sleep 0.02; done; echo end"
    bed.give(lease(1, line=line), output_cap=cap)
    path = bed.folder / "slots" / "0.stdout"
    wait_until(lambda: path.exists() and path.stat().st_size >= size, 15, "all is written")
    wait_until(lambda: path.stat().st_blocks * 512 < cap + (1 << 20), 5, "the disk is freed")
    go.touch()
    report = bed.master.report("1-1-1-1")
    data = bytes(bed.master.files[report.ticket, 0])
    assert data == cut(bytes(size) + b"end\n", cap)
    go.unlink()


def test_what_was_left_out_outlives_the_link(bed: Bed, base: Path) -> None:
    bed.start()
    go = base / "go"
    bed.give(
        lease(1, line=f"while ! test -e {go}; do sleep 0.02; done; seq 100000"), output_cap=CAP
    )
    wait_until(lambda: bed.master.running() == {"1-1-1-1"})
    bed.master.close()
    go.touch()
    journal = bed.folder / "spool" / "journal"
    wait_until(lambda: journal.exists() and b"left out" in journal.read_bytes(), 10, "it ended")
    os.kill(bed.link, signal.SIGKILL)
    bed.master.listen()
    report = bed.master.report("1-1-1-1")
    assert bytes(bed.master.files[report.ticket, 0]) == cut(NUMBERS, CAP)
    go.unlink()


def test_without_holes_the_head_is_kept_and_what_came_last(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "punch", lambda *_: False)
    disk = agent.Disk(str(base))
    disk.begin()
    out, _ = disk.streams(0)
    os.write(out, b"a" * 600)
    assert disk.bound(0, 1000) == 600
    os.write(out, b"b" * 600)
    assert disk.bound(0, 1000) == 1200
    assert os.fstat(out).st_size == 500
    os.write(out, b"c" * 100)
    assert disk.bound(0, 1000) == 1300
    stdout, stderr = disk.gather(0, "t1", False, 1000)
    assert stdout.kept == b"a" * 500 + b"\n[corral: 700 bytes left out here]\n" + b"c" * 100
    assert stderr == b""
    disk.close()


def test_a_task_that_writes_fast_is_looked_at_more_often() -> None:
    looks = []
    for speed in (0, 1 << 20, 1 << 30):
        world = World()
        world.lease(1, part={"output_cap": 1 << 20})
        write_at(world, speed, seconds=2.0)
        looks.append(len(world.disk.looks))
    assert looks[0] <= 5
    assert looks[0] <= looks[1] < looks[2]
    assert looks[2] <= 2.0 / agent.LOOK_LEAST_S + 5


def write_at(world: World, speed: int, *, seconds: float) -> None:
    """Let every task write at a speed, in steps of 5 ms."""
    for step in range(int(seconds / 0.005)):
        world.disk.written = speed * step // 200
        world.tick(0.005)


def test_nothing_is_looked_at_when_nothing_runs() -> None:
    world: Any = World()
    world.lease(1)
    world.exit(1)
    world.tick(10.0)
    looks = len(world.disk.looks)
    world.tick(10.0)
    assert len(world.disk.looks) == looks
    assert world.supervisor.tick(world.clock.time) is None
    assert isinstance(world.disk, fakes.Disk)
