"""Control groups: what is found of them, what the kernel kills in them, and that none is left.

On a machine with cgroup v1 that is v1; with v2 it is v2, of which `make cgroup2` boots a kernel.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.agent import ways
from tests.agent.conftest import OWNER, Bed, lease
from tests.agent.support import agent, alive, wait_until
from tests.agent.test_memory import MIB, TAKE, WAIT

V2 = b"30 23 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = (
    b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    b"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    b"36 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    b"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "found"),
    [
        (b"0::/a.slice/b.scope\n", V2, [("cgroup v2", b"/sys/fs/cgroup/a.slice/b.scope")]),
        (b"0::/\n", V2, [("cgroup v2", b"/sys/fs/cgroup")]),
        (
            b"5:cpu,cpuacct:/c\n4:memory:/m\n1:name=systemd:/s\n0::/u\n",
            HYBRID,
            [
                ("cgroup v1", b"/sys/fs/cgroup/memory/m"),
                ("cgroup v2", b"/sys/fs/cgroup/unified/u"),
            ],
        ),
        (b"0::/box/7/in\n", V2.replace(b" / ", b" /box/7 "), [("cgroup v2", b"/sys/fs/cgroup/in")]),
        (b"0::/elsewhere\n", V2.replace(b" / ", b" /box/7 "), []),
        (b"0::/../outside\n", V2, []),
        (b"0::/x\n", V2.replace(b"/sys", b"/my\\040sys"), [("cgroup v2", b"/my sys/fs/cgroup/x")]),
        (b"0::/x\n", b"", []),
        (b"", V2, []),
    ],
    ids=[
        "v2", "root", "hybrid", "container", "outside the mount", "outside the namespace", "space",
        "not mounted", "no groups",
    ],
)  # fmt: skip
def test_where_our_groups_are(cgroup: bytes, mountinfo: bytes, found: Any) -> None:
    assert agent.own_groups(cgroup, mountinfo) == found


@pytest.mark.parametrize(
    ("shared", "has", "alone", "may"),
    [
        ("cpu memory", "cpu memory", False, True),
        ("cpu", "cpu memory", True, True),
        ("cpu", "cpu memory", False, False),
        ("cpu", "cpu", True, False),
    ],
    ids=["a root that shares", "alone", "with others", "without memory"],
)
def test_when_a_group_of_v2_may_be_divided(
    tmp_path: Path, shared: str, has: str, alone: bool, may: bool
) -> None:
    (tmp_path / "cgroup.procs").touch()
    (tmp_path / "cgroup.subtree_control").write_text(shared)
    (tmp_path / "cgroup.controllers").write_text(has)
    assert agent.may_divide("cgroup v2", os.fsencode(tmp_path), alone) is may


def groups_in(bed: Bed) -> list[Path]:
    """List the groups of tasks."""
    note = bed.folder / "group"
    return list(Path(note.read_text()).glob("task-*")) if note.exists() else []


def inside(group: Path) -> list[int]:
    return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]


def test_no_group_is_made_for_a_task_without_a_limit(grouped: Bed) -> None:
    grouped.start()
    grouped.give(lease(1, "sleep", "60"))
    wait_until(lambda: grouped.master.running() == {"1-1-1-1"})
    assert not groups_in(grouped)


def test_a_program_is_in_its_group_before_it_starts(grouped: Bed) -> None:
    grouped.start()
    [report] = grouped.run(lease(1, "cat", "/proc/self/cgroup", memory=50 * MIB))
    assert b"/task-1-1-1-1\n" in report.stdout.inline
    assert 0 < report.peak_kb < 50 << 10
    assert not groups_in(grouped)


def test_a_limit_that_not_even_a_start_fits_into(grouped: Bed) -> None:
    grouped.start()
    [report] = grouped.run(lease(1, sys.executable, "-c", "pass", memory=200 << 10))
    assert report.kind == "oom"


def test_a_task_of_which_the_kernel_killed_a_part_is_out_of_memory(grouped: Bed) -> None:
    grouped.start()
    child = f"{sys.executable} -c '{TAKE}' 200".replace("'took'", '"took"')
    [report] = grouped.run(lease(1, line=f"{child}; exit 0", memory=50 * MIB))
    assert (report.ended, report.kind) == ("failed", "oom")
    assert report.peak_kb >= 49 << 10


def test_what_hides_from_its_task_dies_with_it(grouped: Bed) -> None:
    """It has neither the task's tag nor its session nor a parent; two tasks could be its origin."""
    grouped.start()
    grouped.give(lease(1, "sleep", "60", memory=50 * MIB))
    hidden = "env -i setsid sh -c 'sleep 61 & sleep 61' & sleep 0.1"
    [report] = grouped.run(lease(2, line=f"({hidden}) & sleep 0.3", memory=50 * MIB))
    assert report.exit == 0
    [group] = groups_in(grouped)
    assert group.name == "task-1-1-1-1"


def test_the_kernels_kill_of_one_task_does_not_explain_the_death_of_another(grouped: Bed) -> None:
    grouped.start()
    take = [sys.executable, "-c", TAKE + WAIT, "200"]
    [large] = grouped.run(lease(1, *take, memory=50 * MIB))
    assert large.kind == "oom"
    [other] = grouped.run(lease(2, line="kill -9 $$"))
    assert other.kind == "signal"


def test_groups_are_gone_after_the_supervisor_was_killed(grouped: Bed) -> None:
    grouped.start()
    grouped.give(lease(1, "sleep", "60", memory=50 * MIB))
    wait_until(lambda: grouped.master.running() == {"1-1-1-1"})
    os.kill(grouped.supervisor, signal.SIGKILL)
    assert grouped.master.report("1-1-1-1").ended == "returned"
    [report] = grouped.run(lease(2, "cat", "/proc/self/cgroup", memory=50 * MIB))
    assert b"/task-1-1-2-1\n" in report.stdout.inline
    assert not groups_in(grouped)


@pytest.mark.parametrize("way", ["sweep", "reap", "collect"])
def test_groups_of_an_agent_that_was_killed_are_removed(grouped: Bed, way: str) -> None:
    grouped.start()
    hidden = "env -i setsid sleep 60 & exec sleep 60"
    grouped.give(lease(1, line=hidden, memory=50 * MIB))
    wait_until(lambda: grouped.master.running() == {"1-1-1-1"})
    [group] = groups_in(grouped)
    wait_until(lambda: len(inside(group)) == 2)
    strays = inside(group)
    grouped.kill_both()
    assert group.exists()
    grouped.python = sys.executable  # another login, from elsewhere
    words = {"owner": OWNER, "workdir": str(grouped.base), "kill": True}
    if way == "collect":
        grouped.start(listen=False, collect=True)
    else:
        grouped.command(way, words)
    wait_until(lambda: not group.parent.exists())
    assert not [pid for pid in strays if alive(pid)]
    grouped.command("reap", words)


@pytest.mark.skipif(ways.ALONE not in ways.found(), reason="cgroup v2 alone: make cgroup2")
def test_beside_others_in_a_group_of_v2_memory_is_polled(bed: Bed, tmp_path: Path) -> None:
    mate = tmp_path / "mate"
    with ways.python(ways.ALONE, tmp_path) as bed.python:
        script = Path(bed.python)
        beside = f"sleep 60 >/dev/null 2>&1 & echo $! > {mate}; exec "
        script.write_text(script.read_text().replace("exec ", beside))
        try:
            bed.start()
            wait_until(lambda: bed.master.facts)
            assert bed.master.facts[0].memory_by == "polled every 500 ms"
            bed.stop()
        finally:
            pid = int(mate.read_text())
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not alive(pid))


@pytest.mark.system("root")
@pytest.mark.parametrize("ours", [True, False], ids=["ours", "another account's"])
def test_only_who_wrote_it_is_believed_where_the_groups_of_an_agent_are(
    tmp_path: Path, ours: bool
) -> None:
    """Bug: whoever gave a process the tags of an agent had root's sweep kill any other."""
    folder, group = tmp_path / "a1", tmp_path / "corral-a1" / "task-x"
    folder.mkdir()
    group.mkdir(parents=True)
    (folder / "group").write_text(str(group.parent))
    if not ours:
        os.chown(folder / "group", 65534, 65534)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        (group / "cgroup.procs").write_text(str(process.pid))
        agent.dissolve(os.fsencode(folder))
        if not ours:
            assert process.poll() is None
            process.kill()
        assert process.wait(5) == -signal.SIGKILL


def test_an_end_does_not_mind_that_the_other_process_is_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug: link and supervisor remove the groups at once; who was second left the agent's folder."""
    folder, home = tmp_path / "a1", tmp_path / "corral-a1"
    folder.mkdir()
    home.mkdir()
    (folder / "group").write_text(str(home))
    listdir = os.listdir

    def list_too_late(path: bytes) -> list[bytes]:
        home.rmdir()
        return listdir(path)

    monkeypatch.setattr(os, "listdir", list_too_late)
    agent.dissolve(os.fsencode(folder))
    assert not home.exists()
