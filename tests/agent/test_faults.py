"""Processes die, connections break, masters vanish: no result is lost, no task runs twice."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from corral import protocol
from tests.agent.conftest import OWNER, Bed, lease
from tests.agent.support import alive, pythons, tagged, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOTH_ENDS = pytest.mark.parametrize(
    "python", [pythons()[0], pythons()[-1]], ids=["oldest", "newest"]
)
OUT = protocol.Output(name="out.txt")


@pytest.fixture
def starts(base: Path) -> Iterator[Path]:
    """A folder where each start of a task leaves a line, so that one too many is seen."""
    path = base / "starts"
    path.mkdir()
    yield path
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


def counted(starts: Path, n: int, then: str) -> protocol.Lease:
    """Make a lease that notes its start, then does something."""
    return lease(n, line=f"echo start >> {starts}/{n}; {then}", outputs=(OUT,))


def started(starts: Path) -> dict[str, int]:
    return {path.name: len(path.read_text().splitlines()) for path in starts.iterdir()}


def hold(starts: Path) -> str:
    """Give shell words that wait until the test says go."""
    return f"while [ ! -e {starts}/go ]; do sleep 0.02; done"


def see_new_link(bed: Bed, old: int) -> None:
    wait_until(lambda: bed.find_peers()[0] not in (0, old), 5, "no new link")


def go(starts: Path) -> None:
    (starts / "go").write_text("")


@BOTH_ENDS
def test_link_dies_and_tasks_notice_nothing(bed: Bed, starts: Path, python: str) -> None:
    bed.python = python
    bed.start()
    work = f"{hold(starts)}; echo $CORRAL_TASK > out.txt; seq 20000"
    bed.give(*(counted(starts, n, work) for n in range(4)))
    wait_until(lambda: len(bed.master.running()) == 2)
    for _ in range(3):
        old = bed.link
        os.kill(old, signal.SIGKILL)
        see_new_link(bed, old)
    facts = len(bed.master.facts)
    wait_until(lambda: len(bed.master.facts) >= max(2, facts))
    assert bed.master.running() == {"1-1-0-1", "1-1-1-1"}
    go(starts)
    for n in range(4):
        report = bed.master.report(f"1-1-{n}-1")
        assert (report.ended, report.exit) == ("exited", 0)
        assert bytes(bed.master.files[report.ticket, 2]) == b"%d\n" % n
    assert started(starts) == {"0": 1, "1": 1, "2": 1, "3": 1, "go": 0}
    numbers = [asked.number for asked in bed.master.asked]
    assert numbers == sorted(numbers)


@BOTH_ENDS
def test_supervisor_dies_and_its_tasks_come_back(bed: Bed, starts: Path, python: str) -> None:
    bed.python = python
    bed.start()
    bed.give(*(counted(starts, n, hold(starts)) for n in range(2)))
    bed.give(counted(starts, 2, "true"))
    wait_until(lambda: set(started(starts)) == {"0", "1"})
    sleepers = tagged(bed.incarnation)
    os.kill(bed.supervisor, signal.SIGKILL)
    for n in range(2):
        report = bed.master.report(f"1-1-{n}-1")
        assert (report.ended, report.message) == ("returned", "the supervisor died")
    assert not [pid for pid in sleepers if alive(pid)]
    assert bed.master.report("1-1-2-1").exit == 0  # the queued one ran, by a new supervisor
    assert started(starts) == {"0": 1, "1": 1, "2": 1}
    dead = bed.supervisor
    assert bed.find_peers()[1] not in (0, dead)


def test_supervisor_of_a_second_link_dies(bed: Bed, starts: Path) -> None:
    """The link that a supervisor started is no ancestor of its tasks: it must find them anyhow."""
    bed.start()
    bed.give(counted(starts, 1, f"setsid sh -c 'sleep 1000' & {hold(starts)}"))
    wait_until(lambda: bed.master.running() == {"1-1-1-1"})
    os.kill(bed.link, signal.SIGKILL)
    wait_until(lambda: len(bed.master.facts) == 2)
    sleepers = tagged(bed.incarnation)
    assert len(sleepers) >= 3
    bed.find_peers()
    os.kill(bed.supervisor, signal.SIGKILL)
    assert bed.master.report("1-1-1-1").ended == "returned"
    assert not [pid for pid in sleepers if alive(pid)]
    [report] = bed.run(counted(starts, 2, "true"))
    assert report.exit == 0
    assert started(starts) == {"1": 1, "2": 1}


def test_supervisor_dies_in_the_middle_of_a_burst(bed: Bed, starts: Path) -> None:
    """What it started and had not told is not started again."""
    bed.start()
    bed.give(*(counted(starts, n, "true") for n in range(300)))
    wait_until(lambda: len(bed.master.reports) > 60)
    os.kill(bed.supervisor, signal.SIGKILL)
    reports = [bed.master.report(f"1-1-{n}-1") for n in range(300)]
    assert set(started(starts).values()) == {1}
    lost = [report for report in reports if report.ended == "returned"]
    assert len(lost) < 100
    assert all(report.exit == 0 for report in reports if report not in lost)


def test_link_dies_in_the_middle_of_a_burst(bed: Bed, starts: Path) -> None:
    bed.start()
    bed.give(*(counted(starts, n, "echo $CORRAL_TASK") for n in range(300)))
    wait_until(lambda: len(bed.master.reports) > 60)
    os.kill(bed.link, signal.SIGKILL)
    reports = [bed.master.report(f"1-1-{n}-1") for n in range(300)]
    assert [int(report.stdout.inline) for report in reports] == list(range(300))
    assert set(started(starts).values()) == {1}
    assert len(started(starts)) == 300


def test_both_die_and_a_second_life_collects(bed: Bed, starts: Path) -> None:
    bed.start()
    bed.master.change(answer_reports=False)
    bed.give(counted(starts, 1, "echo result > out.txt; seq 20000"), lease(2, "sh", "-c", "exit 4"))
    first = [bed.master.report(f"1-1-{n}-1") for n in (1, 2)]
    bed.give(counted(starts, 3, "sleep 1000"))
    wait_until(lambda: "3" in started(starts))
    bed.master.close()
    bed.kill_both()
    strays = tagged(bed.incarnation)
    assert strays
    bed.master.reports.clear()
    bed.master.files.clear()
    bed.master.granted.clear()
    bed.master.change(answer_reports=True)
    before = len(bed.master.asked)
    bed.start(collect=True)
    assert not [pid for pid in strays if alive(pid)]
    again = [bed.master.report(f"1-1-{n}-1") for n in (1, 2)]
    assert [report.digest for report in again] == [report.digest for report in first]
    assert bytes(bed.master.files["1-1-1-1", 2]) == b"result\n"
    bed.see_end()
    assert bed.master.bye
    collecting = bed.master.asked[before:]
    assert {asked.exchange.want for asked in collecting} == {0}
    assert started(starts) == {"1": 1, "3": 1}


def test_answered_reports_are_not_told_again_by_a_new_link(bed: Bed) -> None:
    bed.start()
    bed.run(*(lease(n, "true") for n in range(5)))
    bed.give(lease(9, "sleep", "1000"))
    wait_until(lambda: bed.master.running() == {"1-1-9-1"})
    os.kill(bed.link, signal.SIGKILL)
    wait_until(lambda: len(bed.master.facts) == 2)
    assert bed.master.asked[-1].exchange.ended == ()
    assert bed.master.repeated == []


def test_master_goes_and_comes_back(bed: Bed, starts: Path) -> None:
    bed.start()
    bed.give(*(counted(starts, n, hold(starts)) for n in range(2)))
    wait_until(lambda: len(bed.master.running()) == 2)
    bed.master.close()
    go(starts)
    wait_until(lambda: (bed.folder / "spool" / "journal").read_text().count("\n") == 2)
    bed.master.listen()
    for n in range(2):
        assert bed.master.report(f"1-1-{n}-1").exit == 0
    assert set(started(starts).values()) == {0, 1}
    [report] = bed.run(lease(5, "true"))
    assert report.exit == 0


def test_without_a_master_it_ends_and_keeps_what_is_unreported(bed: Bed) -> None:
    bed.start(linger_s=0.5)
    bed.give(lease(1, line="sleep 1; echo done"))
    wait_until(lambda: bed.master.running() == {"1-1-1-1"})
    bed.master.close()
    bed.keeps_folder = True
    bed.see_end()  # after the task, and after the time to linger
    assert (bed.folder / "lock").exists()
    bed.keeps_folder = False
    bed.start(collect=True)
    assert bed.master.report("1-1-1-1").stdout.inline == b"done\n"
    bed.see_end()


def test_lost_reply_is_asked_for_with_the_same_bytes(bed: Bed) -> None:
    bed.master.drop_replies = 2
    bed.start()
    [report] = bed.run(lease(1, "true"))
    assert report.exit == 0
    first = bed.master.asked[0]
    same = [asked for asked in bed.master.asked if asked.number == first.number]
    assert len(same) == 3
    assert {asked.body for asked in same} == {first.body}


def test_lost_answer_to_a_report_does_no_harm(bed: Bed) -> None:
    bed.start()
    bed.run(lease(1, "true"))
    bed.master.change(drop_replies=1)
    [report] = bed.run(lease(2, "true"))
    assert report.exit == 0
    [report] = bed.run(lease(3, "true"))
    assert report.exit == 0


def test_reply_with_a_wrong_signature_is_never_obeyed(bed: Bed, starts: Path) -> None:
    bed.master.forge_replies = 3
    bed.master.waiting = [lease(1, "true")]
    bed.master.parts[""] = protocol.RunPart(run="forged")
    bed.start()
    wait_until(lambda: bed.master.forge_replies == 0)
    wait_until(lambda: "1-1-1-1" in bed.master.reports)
    numbers = [asked.number for asked in bed.master.asked[:4]]
    assert len(set(numbers)) == 1  # it asked again until it could trust the answer
    bed.master.change(forge_replies=5, stop="now")
    wait_until(lambda: bed.master.forge_replies == 0)
    bed.see_end()


def test_forged_end_is_not_believed(bed: Bed) -> None:
    bed.start()
    bed.give(lease(1, "sleep", "1000"))
    wait_until(lambda: bed.master.running() == {"1-1-1-1"})
    bed.master.change(forge_replies=4, gone=True)
    wait_until(lambda: bed.master.forge_replies == 0)
    assert bed.master.running() == {"1-1-1-1"}


def test_second_agent_in_the_same_folder_is_refused(bed: Bed) -> None:
    bed.start()
    answer = bed.command("start", bed.config())
    assert "another agent lives in" in str(answer["error"])
    assert answer["hint"]


def test_sweep_kills_what_two_dead_processes_left(bed: Bed) -> None:
    bed.start()
    bed.give(lease(1, line="setsid sleep 1000 & exec sleep 1000"), lease(2, "sleep", "1000"))
    wait_until(lambda: len(bed.master.running()) == 2)
    asked = {"owner": OWNER, "incarnation": None}
    assert bed.command("sweep", asked) == {"killed": 0}  # the agent lives
    strays = tagged(bed.incarnation)
    bed.master.close()
    bed.kill_both()
    assert bed.command("sweep", asked | {"incarnation": "another"}) == {"killed": 0}
    assert all(alive(pid) for pid in strays)
    assert bed.command("sweep", asked) == {"killed": len(strays)}
    assert not any(alive(pid) for pid in strays)
    bed.start(collect=True)
    bed.see_end()


def test_start_that_cannot_work_says_why(bed: Bed, base: Path) -> None:
    folder = base / "no" / "such"
    answer = bed.command("start", bed.config(folder=str(folder)))
    assert answer["error"] == f"cannot start the agent: {folder}: No such file or directory"
    bed.start()


def test_agent_whose_folder_was_removed_gives_back_what_it_has(bed: Bed, base: Path) -> None:
    """Bug: it kept its leases for ever; an idle one failed them."""
    bed.start()
    bed.run(lease(0, line="true"))
    shutil.rmtree(base / f"corral-{os.geteuid()}")
    bed.give(*(lease(n, line="true") for n in range(1, 4)))
    reports = [bed.master.report(f"1-1-{n}-1") for n in range(1, 4)]
    assert {report.ended for report in reports} == {"returned"}
    bed.see_end()


def test_agent_whose_folder_was_removed_ends(bed: Bed, base: Path) -> None:
    bed.start(linger_s=0.3)
    wait_until(lambda: bed.master.facts)
    bed.master.close()
    shutil.rmtree(base / f"corral-{os.geteuid()}")
    os.kill(bed.link, signal.SIGKILL)
    bed.see_end()
