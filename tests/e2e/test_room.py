"""The master's disk runs full: nothing is lost, it is said, and the run goes on or ends in order."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.corral import Corral
from tests.support.smalldisk import SmallDisk, small_disk
from tests.support.wait import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
pytestmark = [
    pytest.mark.system("root"),
    pytest.mark.timeout(60),  # several commands each, on a machine that is shared
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "disk"
    path.mkdir()
    with small_disk(path, size=200 * MIB) as disk:
        yield disk


@pytest.fixture
def corral(disk: SmallDisk) -> Iterator[Corral]:
    """The command line in a folder on that disk."""
    one = Corral(disk.path)
    yield one
    disk.clear()
    one.end_started()
    wait_until(lambda: not one.processes(), seconds=15, what="our processes are gone")
    wait_until(lambda: not one.agent_folders(), seconds=15, what="no folder of an agent is left")


def waiting_command(tmp_path: Path, then: str, *, each: str = "") -> str:
    """Make a command whose tasks write a mark as they start, wait for ``go``, then do something."""
    go = f"{tmp_path}/go{each}"
    return f"echo x >> {tmp_path}/marks; while ! test -e {go}; do sleep 0.02; done; {then}"


def said(process: subprocess.Popen[str], text: str) -> None:
    """Read what a command says until it says this."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"{text!r} was not said")


def marks(tmp_path: Path) -> int:
    path = tmp_path / "marks"
    return len(path.read_text().split()) if path.exists() else 0


def test_with_little_room_nothing_new_starts_until_there_is_more(
    corral: Corral, disk: SmallDisk, tmp_path: Path
) -> None:
    process = corral.start("run", "-j1", waiting_command(tmp_path, "seq {50001..50003}"))
    wait_until(lambda: marks(tmp_path) == 1, what="a task runs")
    disk.leave(30 * MIB)
    said(process, "nothing new starts below 64 MB")
    wait_until(lambda: is_held_back(corral), what="the master has seen it")
    for verb in (("why",), ("why", "2"), ("status",)):
        told = corral(*verb)
        said_so = told.stdout + told.stderr
        assert "nothing new starts below 64 MB; results wait on their hosts" in said_so
    assert "nothing new starts" in corral.json("status")["shortage"]
    (tmp_path / "go").touch()
    wait_until(lambda: not corral.processes(tasks_only=True), what="the task has ended")
    assert corral.json("status")["run"]["counts"]["done"] == 0  # its output is too large to take
    assert marks(tmp_path) == 1
    disk.clear()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, (out, err)
    assert "there is room again" in err
    assert corral.output("echo").splitlines()[-1] == "50003"
    assert marks(tmp_path) == 3


def is_held_back(corral: Corral) -> bool:
    return any("nearly full" in event["text"] for event in corral.json("why")["events"])


def test_when_the_disk_is_full_the_run_is_halted_in_order_and_goes_on_later(
    corral: Corral, disk: SmallDisk, tmp_path: Path
) -> None:
    then = "head -c 60000 /dev/zero | tr '\\0' x; echo {n}"
    process = corral.start("run", "-j1", waiting_command(tmp_path, then, each="{n=1..4}"))
    wait_until(lambda: marks(tmp_path) == 1, what="a task runs")
    wait_until((disk.path / ".corral" / "ballast").exists, what="the ballast is laid")
    disk.fill()
    (tmp_path / "go1").touch()
    wait_until(lambda: corral.json("status")["run"]["state"] == "halted", what="it is halted")
    (tmp_path / "go2").touch()  # the report that found no room may have brought another lease
    out, err = process.communicate(timeout=30)
    assert process.returncode == 5, (out, err)
    assert "halted: the disk of" in err
    assert "go on: corral resume echo" in err
    assert not corral.processes()
    assert corral.json("status")["run"]["counts"]["done"] == marks(tmp_path) <= 2
    disk.clear()
    for n in (3, 4):
        (tmp_path / f"go{n}").touch()
    corral("resume")
    assert [len(line) for line in corral.output("echo").splitlines()] == [60001] * 4
    assert marks(tmp_path) == 4
    assert not (disk.path / ".corral" / "ballast").exists()


def test_what_is_killed_before_its_output_found_room_is_no_result(
    corral: Corral, disk: SmallDisk, tmp_path: Path
) -> None:
    # It ended well, but nothing of what it wrote has come: it was taken as done, with no output.
    process = corral.start("run", "-j1", waiting_command(tmp_path, "seq {50001..50002}"))
    wait_until(lambda: marks(tmp_path) == 1, what="a task runs")
    disk.leave(30 * MIB)
    wait_until(lambda: is_held_back(corral), what="the master has seen it")
    (tmp_path / "go").touch()
    wait_until(lambda: not corral.processes(tasks_only=True), what="the task has ended")
    process.send_signal(signal.SIGINT)
    wait_until(lambda: corral.json("status")["run"]["state"] == "halted", what="halted")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert corral.json("status")["run"]["counts"]["waiting"] == 2
    disk.clear()
    corral("resume")
    assert len(corral.output("echo").splitlines()) == 50001 + 50002
    assert marks(tmp_path) == 3


def test_a_command_that_finds_too_little_room_says_so_and_starts_nothing(
    corral: Corral, disk: SmallDisk, tmp_path: Path
) -> None:
    disk.leave(40 * MIB)
    process = corral.start("run", waiting_command(tmp_path, "true"))
    said(process, "nothing new starts below 64 MB")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 75
    assert marks(tmp_path) == 0


def test_a_cancelled_run_leaves_nothing_though_its_result_finds_no_room(
    corral: Corral, disk: SmallDisk
) -> None:
    corral("run", "-d", "head -c 250M /dev/zero; echo {1}")
    wait_until(lambda: is_held_back(corral), what="its result fills the disk")
    wait_until(lambda: not corral.processes(tasks_only=True), what="the task has ended")
    corral("cancel")
    wait_until(lambda: not corral.processes(), seconds=15, what="our processes are gone")
    wait_until(lambda: not corral.agent_folders(), what="no folder of an agent is left")
    assert corral.json("status")["run"]["counts"]["cancelled"] == 1
    assert not list((disk.path / ".corral" / "blobs" / "part").iterdir())


def test_nobody_is_told_to_move_a_sound_database_away(corral: Corral, disk: SmallDisk) -> None:
    corral("run", "-q", "echo 1")
    disk.leave(0)
    for words in (("ls",), ("run", "echo 1")):
        assert "\n  try: look at the disk's free space" in corral(*words, code=4).stderr
    disk.clear()
    assert "1 kept, nothing to do" in corral("run", "echo 1").stderr
