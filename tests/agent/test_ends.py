"""Killing, time limits and the agent's own end: nothing is left, whatever the task tries."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from corral import agent, protocol
from tests.agent.conftest import Bed, lease
from tests.agent.support import alive, pythons, wait_until

HOSTILE = Path(__file__).parent / "hostile.py"
NAMES = {"child", "session", "daemon", "stubborn", "nameless", "respawner", "respawned"}


@pytest.fixture
def marks(base: Path) -> Path:
    """A folder where each process of the hostile task leaves its name and pid."""
    path = base / "marks"
    path.mkdir()
    return path


def marked(marks: Path) -> dict[int, str]:
    return {int(path.name.split("-")[1]): path.name.split("-")[0] for path in marks.iterdir()}


def sweep_marks(marks: Path) -> None:
    for path in marks.iterdir():
        path.unlink()
    marks.rmdir()


@pytest.mark.parametrize("python", [pythons()[0], pythons()[-1]], ids=["oldest", "newest"])
@pytest.mark.parametrize("end", ["kill", "timeout", "leave", "now", "supervisor"])
def test_nothing_is_left_of_a_hostile_task(bed: Bed, marks: Path, end: str, python: str) -> None:
    bed.python = python
    bed.start()
    words = [sys.executable, str(HOSTILE), str(marks)] + (["leave"] if end == "leave" else [])
    part = protocol.RunPart(run="sim", grace_s=0.1, timeout_s=1.0 if end == "timeout" else None)
    bed.master.give(lease(1, *words), part=part)
    wait_until(lambda: set(marked(marks).values()) >= NAMES, 10, "the hostile task is not up")
    if end == "kill":
        bed.master.change(kill={"1-1-1-1"})
    elif end == "now":
        bed.master.change(stop="now")
    elif end == "supervisor":
        os.kill(bed.supervisor, signal.SIGKILL)
    report = bed.master.report("1-1-1-1")
    assert not [name for pid, name in marked(marks).items() if alive(pid)]
    wanted = {
        "kill": ("killed", ""),
        "now": ("killed", ""),
        "timeout": ("failed", "timeout"),
        "leave": ("exited", ""),
        "supervisor": ("returned", ""),
    }
    assert (report.ended, report.kind) == wanted[end]
    sweep_marks(marks)


def test_other_tasks_live_on_when_a_hostile_one_is_killed(bed: Bed, marks: Path) -> None:
    """The daemons of the one that goes on are not taken for orphans of the one that dies."""
    other = marks / "other"
    other.mkdir()
    bed.start()
    part = protocol.RunPart(run="sim", grace_s=0.1)
    words = [sys.executable, str(HOSTILE)]
    bed.master.give(lease(1, *words, str(marks)), lease(2, *words, str(other)), part=part)
    wait_until(lambda: set(marked(other).values()) >= NAMES)
    wait_until(lambda: len(list(marks.iterdir())) > len(NAMES) + 1)
    bed.master.change(kill={"1-1-1-1"})
    bed.master.report("1-1-1-1")
    assert all(alive(pid) for pid in marked(other))
    bed.master.change(kill={"1-1-2-1"})
    bed.master.report("1-1-2-1")
    assert not any(alive(pid) for pid in marked(other))
    sweep_marks(other)
    mine = [int(path.name.split("-")[1]) for path in marks.iterdir()]
    assert not any(alive(pid) for pid in mine)
    sweep_marks(marks)


def test_background_processes_die_with_their_task(bed: Bed) -> None:
    bed.start()
    [report] = bed.run(lease(1, line="sleep 1000 & echo $!; setsid sleep 1000 & echo $!"))
    assert (report.ended, report.exit) == ("exited", 0)
    assert not any(alive(int(pid)) for pid in report.stdout.inline.split())


def test_polite_task_has_its_grace(bed: Bed) -> None:
    bed.start()
    line = "trap 'echo bye; exit 7' TERM; sh -c 'echo up > ready; exec sleep 1000' & wait"
    bed.give(lease(1, line=line), grace_s=10.0)
    wait_until(lambda: list(bed.folder.glob("slots/*/ready")))
    bed.master.change(kill={"1-1-1-1"})
    report = bed.master.report("1-1-1-1", 5)  # and not after the whole grace
    assert (report.ended, report.exit) == ("killed", 7)
    assert report.stdout.inline == b"bye\n"


def test_stubborn_task_is_killed_after_its_grace(bed: Bed) -> None:
    bed.start()
    line = "trap '' TERM; echo up > ready; while :; do sleep 0.05; done"
    bed.give(lease(1, line=line), grace_s=0.3)
    wait_until(lambda: list(bed.folder.glob("slots/*/ready")))
    bed.master.change(kill={"1-1-1-1"})
    report = bed.master.report("1-1-1-1")
    assert (report.ended, report.signal) == ("killed", 9)


def test_timeout(bed: Bed) -> None:
    bed.start()
    [report] = bed.run(lease(1, line="echo partial; exec sleep 1000"), timeout_s=0.3, grace_s=1.0)
    assert (report.ended, report.kind, report.signal) == ("failed", "timeout", 15)
    assert report.message == "not done after 0.3 s"
    assert report.stdout.inline == b"partial\n"
    assert 0.3 <= report.seconds < 3


def test_queued_lease_that_is_killed_comes_back(bed: Bed) -> None:
    bed.master.slots = 1
    bed.start(slots=1)
    bed.give(lease(1, "sleep", "1000"), lease(2, "touch", "/nowhere/x"))
    wait_until(lambda: bed.master.running() == {"1-1-1-1"})
    bed.master.change(kill={"1-1-2-1", "1-1-9-1"})
    report = bed.master.report("1-1-2-1")
    assert report.ended == "returned"
    assert "1-1-1-1" not in bed.master.reports


def test_drain_lets_running_tasks_finish(bed: Bed) -> None:
    bed.master.slots = 1
    bed.start(slots=1)
    bed.give(
        lease(1, line="echo up > ready; while [ -e ready ]; do sleep 0.02; done"), lease(2, "true")
    )
    wait_until(lambda: bed.master.running() == {"1-1-1-1"})
    bed.master.change(stop="drain")
    assert bed.master.report("1-1-2-1").ended == "returned"
    assert not bed.master.bye
    [ready] = bed.folder.glob("slots/*/ready")
    ready.unlink()
    assert bed.master.report("1-1-1-1").exit == 0
    bed.see_end()
    assert bed.master.bye


def test_stop_now_kills_and_goes(bed: Bed) -> None:
    bed.start()
    bed.give(*(lease(n, "sleep", "1000") for n in range(5)))
    wait_until(lambda: len(bed.master.running()) == 2)
    bed.stop("now")
    ends = [bed.master.reports[f"1-1-{n}-1"].ended for n in range(5)]
    assert ends == ["killed"] * 2 + ["returned"] * 3
    assert bed.master.bye


def test_agent_that_is_not_wanted_any_more_goes_without_a_word(bed: Bed) -> None:
    bed.start()
    bed.give(lease(1, "sleep", "1000"))
    wait_until(lambda: bed.master.running() == {"1-1-1-1"})
    bed.master.change(gone=True)
    bed.see_end()
    assert not bed.master.reports
    assert not bed.master.bye


@pytest.mark.parametrize("who", ["link", "supervisor"])
def test_sigterm_ends_it_in_order(bed: Bed, who: str) -> None:
    bed.start()
    bed.give(*(lease(n, "sleep", "1000") for n in range(3)))
    wait_until(lambda: len(bed.master.running()) == 2)
    os.kill(getattr(bed, who), signal.SIGTERM)
    bed.see_end()
    ends = [bed.master.reports[f"1-1-{n}-1"].ended for n in range(3)]
    assert ends == ["killed", "killed", "returned"]
    assert bed.master.bye


def test_sigterm_without_a_master_keeps_the_spool(bed: Bed) -> None:
    bed.start()
    bed.give(lease(1, "sleep", "1000"))
    wait_until(lambda: bed.master.running() == {"1-1-1-1"})
    bed.master.close()
    bed.keeps_folder = True
    os.kill(bed.link, signal.SIGTERM)
    bed.see_end()
    bed.keeps_folder = False
    bed.start(collect=True)
    assert bed.master.report("1-1-1-1").ended == "killed"
    bed.see_end()


def test_hangup_and_interrupt_are_ignored(bed: Bed) -> None:
    bed.start()
    for pid in (bed.link, bed.supervisor):
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            os.kill(pid, number)
    [report] = bed.run(lease(1, "true"))
    assert report.exit == 0
    assert bed.find_peers() == (bed.link, bed.supervisor)


def test_a_folder_that_another_agent_removes_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug: of two agents of a machine one that began as the other ended lived in another place."""
    own_folder = agent.own_folder
    removed: list[bytes] = []

    def own(path: bytes) -> None:
        own_folder(path)
        if path.endswith(b"/owner") and not removed:
            os.rmdir(path)
            removed.append(path)

    monkeypatch.setattr(agent, "own_folder", own)
    folder = agent.choose_folder("owner", "one", str(tmp_path))
    assert removed
    assert Path(folder).is_relative_to(tmp_path)
