"""The main job on many machines, through the real command line and real sshd's."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.corral import Corral
    from tests.support.hosts import Bed

pytestmark = [
    pytest.mark.system("sshd"),
    pytest.mark.system("root"),
    pytest.mark.timeout(60),  # several commands with logins each, on a machine that is shared
]


def test_each_host_takes_part(on_farm: Corral) -> None:
    on_farm("run", "-w", "h[1-3]", "sleep 0.05; echo {i=1..30}@$(hostname)")
    lines = on_farm.output("sleep").splitlines()
    assert [line.partition("@")[0] for line in lines] == [str(i) for i in range(1, 31)]
    assert {line.partition("@")[2] for line in lines} == {"h1", "h2", "h3"}
    by_host = Counter(row["host"] for row in on_farm.rows("sleep"))
    assert by_host == Counter(line.partition("@")[2] for line in lines)


def test_each_host_takes_part_in_a_run_that_is_shorter_than_a_login(on_farm: Corral) -> None:
    on_farm("run", "-w", "h[1-3]", "echo {i=1..30}@$(hostname)")
    lines = on_farm.output("echo").splitlines()
    assert [line.partition("@")[0] for line in lines] == [str(i) for i in range(1, 31)]
    assert {line.partition("@")[2] for line in lines} == {"h1", "h2", "h3"}


def test_the_script_travels(on_farm: Corral) -> None:
    on_farm.write("sim.py", "import sys; print('T is', sys.argv[2])\n")
    on_farm("run", "-w", "h[1-3]", "python3 sim.py -T {1..5}")
    assert on_farm.output("python3") == "".join(f"T is {n}\n" for n in range(1, 6))


def test_a_host_that_is_none_is_named_and_the_others_work(on_farm: Corral) -> None:
    done = on_farm("run", "-w", "h[1-4],nosuch", "sleep 0.1; echo {1..100}")
    assert "nosuch: " in done.stderr
    assert "resolve" in done.stderr
    assert "  try: " in done.stderr
    assert len(on_farm.output("sleep").splitlines()) == 100
    status = on_farm("status").stdout
    assert "h[1-4]: " in status
    assert "nosuch: unreachable" in status
    assert "nosuch is unreachable" in on_farm("why", "nosuch").stdout


def test_without_any_usable_host_nothing_is_lost(on_farm: Corral) -> None:
    done = on_farm("run", "-w", "nosuch[1-3]", "echo {1..3}", code=3)
    assert "none of 3 hosts can be used" in done.stderr
    assert "corral resume echo" in done.stderr
    again = on_farm("run", "-w", "h1", "echo {1..3}")  # the same run, elsewhere
    assert "3 kept" in again.stderr
    assert on_farm.output("echo") == "1\n2\n3\n"


def test_check_folds_what_is_alike_and_names_the_odd_ones(on_farm: Corral) -> None:
    done = on_farm("hosts", "check", "-w", "h[1-8],nosuch[1-2]", code=1)
    assert "h[1-8]  linux" in done.stdout
    assert "nosuch[1-2]: Could not resolve" in done.stdout
    hosts = on_farm.json("hosts", "check", "-w", "h[2-3]")["hosts"]
    assert [host["host"] for host in hosts] == ["h2", "h3"]
    assert all(host["facts"]["cores"] >= 1 and abs(host["clock_off_s"]) < 5 for host in hosts)
    assert on_farm("hosts", "check", "-w", "nosuch", code=3).stdout.startswith("nosuch: ")


def test_a_host_joins_a_run_that_goes_on(on_farm: Corral, farm: Bed) -> None:
    command = "while ! test -e /dev/shm/go; do sleep 0.05; done; echo {1..6}"
    first = on_farm.start("run", "-j1", "-w", "h1", command)
    wait_until(lambda: _running(on_farm) == {"h1"}, seconds=30, what="the first host works")
    second = on_farm.start("run", "-j1", "-w", "h[1-3]", command)
    wait_until(lambda: _running(on_farm) == {"h1", "h2", "h3"}, seconds=30, what="all three work")
    for name in ("h1", "h2", "h3"):
        farm[name].write("/dev/shm/go", "")
    for process in (first, second):
        _, err = process.communicate(timeout=40)
        assert process.returncode == 0, err
    assert len(on_farm.output("while").splitlines()) == 6
    assert len(on_farm.json("attempts")["attempts"]) == 6
    for name in ("h1", "h2", "h3"):
        farm[name].sh("rm /dev/shm/go")


def _running(corral: Corral) -> set[str]:
    done = corral("attempts", "--json", code=None)
    if done.returncode != 0:
        return set()
    attempts = json.loads(done.stdout)["attempts"]
    return {attempt["host"] for attempt in attempts if attempt["state"] == "running"}


def test_reap_ends_what_a_dead_master_left_and_nothing_else(on_farm: Corral, farm: Bed) -> None:
    mine = on_farm.start("run", "-w", "h[1-2]", "sleep 600; echo {1..4}")
    wait_until(lambda: len(_running(on_farm)) == 2, seconds=30, what="both hosts work")
    os.kill(mine.pid, signal.SIGKILL)
    mine.wait()
    bystander = farm["h1"].sh("setsid sleep 1234 >/dev/null 2>&1 & echo $!").strip()
    found = on_farm.json("reap", "-n", "-w", "h[1-3]")["found"]
    assert [(one["host"], one["agent"]["lives"]) for one in found] == [("h1", True), ("h2", True)]
    assert on_farm("reap", "-w", "h[1-3]", code=2).stderr.startswith("corral: nothing was ended")
    on_farm("reap", "-w", "h[1-3]", "--owner", "somebody", "--yes")
    assert farm.left()
    (on_farm.folder / ".corral").rename(on_farm.folder / "gone")  # no state is needed
    assert "ended and removed: 2" in on_farm("reap", "-w", "h[1-3]", "--yes").stderr
    assert farm.left() == []
    assert farm["h1"].sh(f"kill {bystander} && echo was there").strip() == "was there"
