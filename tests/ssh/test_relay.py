"""Does a run go on when connections, relays, sshd's sessions or masters die under it?

Every start of a task leaves a line in a file on its host: none may start twice unless it was lost.
"""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

from tests.ssh.logins import logins
from tests.support.hosts import processes
from tests.support.wait import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from tests.support.corral import Corral
    from tests.support.hosts import Bed, Host, Process

pytestmark = [
    pytest.mark.system("sshd"),
    pytest.mark.system("root"),
    pytest.mark.timeout(90),  # a broken connection is given up after seconds, on a shared machine
]

STARTS = "/dev/shm/starts"
GO = "/dev/shm/go"
TASK = f"echo $CORRAL_TASK >> {STARTS}; until test -e {GO}; do sleep 0.05; done; echo {{1..6}}"
HOSTS = ("h1", "h2", "h3")
AGENT = ("corral-link", "corral-super", "corral-relay")
WORKS_S = 30.0  # until all hosts work


@pytest.fixture
def remote(corral: Corral, bed: Bed) -> Corral:
    """The command line with three hosts of its own, which may be broken."""
    corral.environment["CORRAL_SSH"] = bed.ssh
    return corral


def begin(remote: Corral, bed: Bed, names: tuple[str, ...] = HOSTS) -> subprocess.Popen[str]:
    """Start a run of six tasks that wait to be let go; a task is at work on each host."""
    process = remote.start("run", "-j2", "-w", ",".join(names), TASK)
    working = [bed[name].place(STARTS) for name in names]
    wait_until(lambda: all(one.exists() for one in working), seconds=WORKS_S, what="hosts work")
    return process


def starts(bed: Bed) -> list[str]:
    """List the starts of tasks so far, by task number."""
    found = []
    for host in bed:
        path = host.place(STARTS)
        found += path.read_text().split() if path.exists() else []
    return found


def done(remote: Corral) -> int:
    """Count the tasks that are done."""
    return sum(task["state"] == "done" for task in remote.json("tasks")["tasks"])


def let_go(bed: Bed) -> None:
    for host in bed:
        host.write(GO, "")


def finish(remote: Corral, bed: Bed, process: subprocess.Popen[str]) -> str:
    """Let the tasks go and see the run end well, with nothing left; gives what was said."""
    let_go(bed)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    check_end(remote, bed)
    return said


def check_end(remote: Corral, bed: Bed) -> None:
    """See all results there and nothing of ours anywhere."""
    assert remote.output("echo") == "1\n2\n3\n4\n5\n6\n"
    wait_until(lambda: not bed.left(), seconds=15, what="nothing is left on the hosts")
    wait_until(lambda: not logins(bed), what="no ssh of ours is left")


def once(bed: Bed) -> None:
    """See that each task was started exactly once."""
    assert sorted(starts(bed)) == ["1", "2", "3", "4", "5", "6"]


def named(host: Host, name: str) -> list[Process]:
    return [one for one in host.processes() if one.name == name]


def relay_of(host: Host) -> int:
    """Give the pid of a host's only relay, 0 if there is none or another than one."""
    found = named(host, "corral-relay")
    return found[0].pid if len(found) == 1 else 0


def kill(*pids: int) -> None:
    """Kill processes, of which some may end by themselves as soon as others do."""
    assert sum(processes.send(pid, signal.SIGKILL) for pid in pids) > 0


# ---------------------------------------------------------------- connections


def kill_client(bed: Bed) -> None:
    kill(*logins(bed, "h2"))


def kill_relay(bed: Bed) -> None:
    kill(relay_of(bed["h2"]))


def kill_session(bed: Bed) -> None:
    kill(*(one.pid for one in bed["h2"].processes() if one.name.startswith("sshd")))


@pytest.mark.parametrize("death", [kill_client, kill_relay, kill_session])
def test_a_run_goes_on_over_a_new_login(
    remote: Corral, bed: Bed, death: Callable[[Bed], None]
) -> None:
    process = begin(remote, bed)
    links = {one.pid for one in named(bed["h2"], "corral-link")}
    old = relay_of(bed["h2"])
    assert links
    assert old
    death(bed)
    wait_until(lambda: relay_of(bed["h2"]) not in (0, old), seconds=30, what="a new relay")
    assert {one.pid for one in named(bed["h2"], "corral-link")} == links
    finish(remote, bed, process)
    once(bed)


def test_a_link_that_is_down_for_seconds_costs_nothing(remote: Corral, bed: Bed) -> None:
    """With one host: others that are idle would rightly take what a silent one has."""
    process = begin(remote, bed, ("h2",))
    bed["h2"].cut()
    wait_until(lambda: "suspect" in remote("status").stdout, seconds=30, what="silence is noticed")
    bed["h2"].heal()
    finish(remote, bed, process)
    once(bed)


def test_a_half_dead_connection_does_not_keep_the_new_one_from_serving(
    remote: Corral, bed: Bed
) -> None:
    """The old connection is cut both ways and, to its ends, lives: it hears of no end."""
    process = begin(remote, bed)
    old, client = relay_of(bed["h2"]), logins(bed, "h2")
    bed["h2"].cut()
    kill(*client)
    wait_until(lambda: logins(bed, "h2") not in ([], client), seconds=30, what="another login")
    assert relay_of(bed["h2"]) == old
    bed["h2"].heal()
    wait_until(lambda: relay_of(bed["h2"]) not in (0, old), seconds=40, what="a new relay")
    finish(remote, bed, process)
    once(bed)


def test_a_host_whose_processes_end_with_the_login_is_used_while_it_lasts(
    remote: Corral, bed: Bed
) -> None:
    bed["h2"].write("/usr/local/bin/until-logout", UNTIL_LOGOUT, 0o755)
    bed["h2"].sshd("ForceCommand /usr/local/bin/until-logout")
    process = begin(remote, bed)
    first = {one.pid for one in named(bed["h2"], "corral-link")}
    kill_client(bed)
    wait_until(
        lambda: first.isdisjoint(one.pid for one in named(bed["h2"], "corral-link")),
        what="its agent is gone",
    )
    wait_until(lambda: "end with the login" in remote("hosts").stdout, seconds=20)
    let_go(bed)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "h2: its processes end with the login" in said
    check_end(remote, bed)
    ends = {row["outcome"] for row in remote.rows("echo", "attempts.csv") if row["host"] == "h2"}
    assert ends & {"lost", "returned"}  # by which of its processes was killed last
    assert set(Counter(starts(bed))) == {"1", "2", "3", "4", "5", "6"}


UNTIL_LOGOUT = """\
#!/bin/sh
# what systemd-logind does with KillUserProcesses=yes: all that the login started ends with it,
# at once: all are stopped before the first is killed, or an agent mends what it lost of itself
LOGIN_MARK=$$ sh -c "$SSH_ORIGINAL_COMMAND"
exec >/dev/null 2>&1
marked() { grep -lsxz LOGIN_MARK=$$ /proc/[0-9]*/environ | tr -cd '0-9\\n'; }
stopped=
until found=$(marked); [ "$found" = "$stopped" ]; do
  kill -STOP $found
  stopped=$found
done
while [ -n "$found" ]; do
  kill -9 $found
  found=$(marked)
done
"""


# ---------------------------------------------------------------- masters


def test_a_host_whose_work_folder_is_removed_begins_anew(remote: Corral, bed: Bed) -> None:
    """Bug: it kept its tasks for ever, up as it was said to be."""
    process = begin(remote, bed, ("h1",))
    bed["h1"].sh("rm -rf /var/tmp/corral-*")
    finish(remote, bed, process)


def lose_master(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_the_next_master_adopts_what_runs(remote: Corral, bed: Bed) -> None:
    lose_master(begin(remote, bed))
    wait_until(lambda: not logins(bed), what="ssh ends with its master")
    let_go_when_adopted = remote.start("resume")
    wait_until(lambda: all(relay_of(host) for host in bed), seconds=30, what="relays again")
    finish(remote, bed, let_go_when_adopted)
    once(bed)
    assert {row["attempt"] for row in remote.rows("echo")} == {"1"}


def test_what_ended_without_a_master_is_collected(remote: Corral, bed: Bed) -> None:
    lose_master(begin(remote, bed))
    before = len(starts(bed))
    let_go(bed)
    wait_until(lambda: not tasks(bed), what="the tasks are done")
    assert remote("resume").returncode == 0
    check_end(remote, bed)
    once(bed)
    assert before >= 3


def tasks(bed: Bed) -> list[Process]:
    return [one for host in bed for one in host.processes() if one.marked and one.name == "sh"]


def test_what_dead_agents_had_finished_is_collected(remote: Corral, bed: Bed) -> None:
    """The master dies, tasks end, their agents die before there is another: the spool is there."""
    lose_master(begin(remote, bed))
    ran = starts(bed)
    let_go(bed)
    wait_until(lambda: not tasks(bed), what="the tasks are done")
    wait_until(lambda: all(journal(host) for host in bed), what="their ends are on disk")
    processes.kill_at_once(lambda: [one.pid for host in bed for one in host.ours()])
    assert "end with the login" not in remote("resume").stderr
    check_end(remote, bed)
    once(bed)
    assert len(ran) >= 3


def journal(host: Host) -> str:
    return host.sh("cat /var/tmp/corral-0/*/*/spool/journal", check=False)


def test_a_run_that_ends_at_once_sees_the_agents_of_a_dead_master_end(
    remote: Corral, bed: Bed
) -> None:
    """One host has a task left; the login to another one takes seconds, a third one's sshd is busy."""
    task = f"touch {STARTS}; until test -e {GO}; do sleep 0.05; done; echo {{1..3}}"
    process = remote.start("run", "-j1", "-w", "h[1-3]", "--no-twins", task)
    wait_until(lambda: all(host.place(STARTS).exists() for host in bed), seconds=WORKS_S)
    busy, slow, full = bed
    slow.write(GO, "")
    full.write(GO, "")
    wait_until(lambda: done(remote) == 2, what="two are through")
    lose_master(process)
    wait_until(lambda: not logins(bed), what="ssh ends with its master")
    slow.rc("sleep 3")
    full.sshd("MaxStartups 1:100:1")
    with socket.create_connection((full.address, full.port)) as occupies:
        assert occupies.recv(100).startswith(b"SSH-2.0")
        resumed = remote.start("resume")
        wait_until(lambda: "drop connection" in full.log(), seconds=WORKS_S, what="it was refused")
    busy.write(GO, "")
    _, said = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, said
    assert "may be left" not in said
    assert not [one for host in bed for one in host.processes() if one.name in AGENT]
    assert not [file for host in bed for file in host.files()]


def test_hosts_that_died_with_the_master_cost_only_what_ran_there(remote: Corral, bed: Bed) -> None:
    lose_master(begin(remote, bed))
    ran = Path(bed["h2"].place(STARTS)).read_text().split()
    processes.kill_at_once(lambda: [one.pid for one in bed["h2"].ours()])
    assert ran
    let_go(bed)
    assert remote("resume").returncode == 0
    check_end(remote, bed)
    again = Counter(starts(bed))
    assert {task for task, times in again.items() if times > 1} <= set(ran)
    assert sum(again.values()) == 6 + len(ran)


def wait_for_a_last_agent(remote: Corral, bed: Bed) -> tuple[subprocess.Popen[str], IO[str]]:
    """Have a run wait at its end for h2, which is frozen; gives the command, and its stderr from there."""
    process = begin(remote, bed)
    bed["h2"].write(GO, "")
    wait_until(lambda: done(remote) == 4, what="the other hosts have a task each, h2 has none")
    bed["h2"].freeze()
    let_go(bed)
    assert process.stderr is not None
    assert any("h2: waiting until nothing of ours runs there" in line for line in process.stderr)
    return process, process.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_does_not_wait_for_a_last_agent_hears_how_the_run_ended(
    remote: Corral, bed: Bed, number: signal.Signals
) -> None:
    """Bug: Ctrl-C ended with 130 and without a word, though all was done; SIGTERM killed corral."""
    process, stderr = wait_for_a_last_agent(remote, bed)
    os.kill(process.pid, number)
    said = stderr.read()
    assert process.wait() == 0, said
    assert "echo: 6 done\nh2: an agent of this folder may be left: corral reap -w h2\n" in said
    bed["h2"].thaw()
    assert remote("resume").returncode == 0
    check_end(remote, bed)


def test_a_closed_terminal_at_the_end_is_none(remote: Corral, bed: Bed) -> None:
    """Bug: corral died of it, and left its agents to themselves."""
    process, _ = wait_for_a_last_agent(remote, bed)
    os.kill(process.pid, signal.SIGHUP)
    bed["h2"].thaw()
    assert process.wait() == 0
    check_end(remote, bed)


def test_a_stop_in_the_middle_of_a_login_leaves_nothing(remote: Corral, bed: Bed) -> None:
    """Ctrl-C while a slow start-up file holds the login up, and while a setup runs."""
    bed["h2"].rc(f"until test -e {GO}; do sleep 0.05; done")
    remote.write("hosts.toml", '[hosts.h3]\nsetup = "touch /dev/shm/sets; sleep 60"\n')
    process = remote.start("run", "-w", "h[2-3]", "echo {1..6}")
    wait_until(lambda: bed["h3"].place("/dev/shm/sets").exists(), seconds=WORKS_S)
    wait_until(lambda: len(logins(bed)) == 2)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    wait_until(lambda: not logins(bed), what="no ssh of ours is left")
    let_go(bed)
    wait_until(lambda: not bed.left(), seconds=30, what="nothing is left on the hosts")
    assert "Traceback" not in said
