"""The memory of real processes: what is counted, who is killed, and what the kernel killed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import parts
from tests.agent.conftest import Bed, lease
from tests.agent.support import agent, tagged, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
TAKE = "import sys, time; x = bytearray(int(sys.argv[1]) << 20); print('took', flush=True); "
WAIT = "time.sleep(60)"


def test_a_real_task_above_its_memory_is_killed_and_one_below_is_not(limited: Bed) -> None:
    limited.start()
    small, large = limited.run(
        lease(1, sys.executable, "-c", TAKE, "10", memory=100 * MIB),
        lease(2, sys.executable, "-c", TAKE + WAIT, "200", memory=100 * MIB),
    )
    assert (small.ended, small.exit) == ("exited", 0)
    assert (large.ended, large.kind, large.signal) == ("failed", "oom", 9)
    by = limited.master.facts[0].memory_by
    polled = by == "polled every 500 ms"
    said = "more than its 100 (polled)" if polled else f"its 100 MiB of memory ({by})"
    assert said in large.message


def test_memory_of_children_counts_wherever_they_hide(limited: Bed) -> None:
    limited.start()
    child = f"{sys.executable} -c '{TAKE}{WAIT}'".replace("'took'", '"took"')
    [plain, hidden] = limited.run(
        lease(1, line=f"{child} 200 & wait", memory=100 * MIB),
        lease(2, line=f"(setsid {child} 200 &); sleep 60", memory=100 * MIB),
    )
    assert (plain.kind, hidden.kind) == ("oom", "oom")


def test_shared_memory_counts_once(limited: Bed, base: Path) -> None:
    """Eight forked workers share 60 MiB: their resident memory adds up to 480."""
    limited.start()
    go = base / "go"
    words = (
        "import os, sys, time\n"
        "x = bytearray(60 << 20)\n"
        "for _ in range(8):\n"
        "    if os.fork() == 0: break\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.02)\n"
    )
    limited.give(lease(1, sys.executable, "-c", words, memory=200 * MIB))
    wait_until(lambda: limited.master.running() == {"1-1-1-1"})
    table = agent.ProcessTable(agent.Config(limited.config(), {}), 0, everywhere=True)
    wait_until(lambda: seen_resident(limited) > 400 * MIB, 10, "all have forked")
    leader = next(pid for pid in tagged(limited.incarnation) if os.getsid(pid) == pid)
    assert table.weigh({leader: ("1-1-1-1", 200 * MIB)})[leader] < 150 * MIB
    table.close()
    go.touch()
    report = limited.master.report("1-1-1-1")
    assert (report.ended, report.exit) == ("exited", 0)
    go.unlink()


def seen_resident(bed: Bed) -> int:
    return sum(agent._resident(pid) for pid in tagged(bed.incarnation))


@pytest.fixture
def group() -> Iterator[Path]:
    """A group of processes to which the kernel gives 40 MiB."""
    found = parts.memory_groups()
    assert found is not None
    path = found[0] / f"corral-test-{os.getpid()}"
    path.mkdir()
    (path / found[1]).write_text(str(40 * MIB))
    yield path
    wait_until(lambda: not (path / "cgroup.procs").read_text(), 5, "the group is empty")
    path.rmdir()


@pytest.mark.system("memory groups")
def test_a_real_kill_by_the_kernel_out_of_memory_is_known_as_such(bed: Bed, group: Path) -> None:
    bed.start()
    join = f"echo $$ > {group}/cgroup.procs; "
    words = f"{sys.executable} -c '{TAKE}' 200".replace("'took'", '"took"')
    direct, by_shell = bed.run(
        lease(1, line=f"{join}exec {words}"), lease(2, line=f"{join}{words}; exit $?")
    )
    assert (direct.ended, direct.kind) == ("failed", "oom")
    assert direct.message == "the kernel killed it: out of memory"
    assert by_shell.kind == "oom"
