"""And if it is killed around a login, on a host, or while something hangs?

As in `test_kills`, but each of these points takes a scene of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.failpoints.jobs import JOBS, armed, begin, check, go_on, is_submitted
from tests.ssh.logins import logins
from tests.support.hosts import Bed, processes
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import Popen

    from tests.support.corral import Corral

HOST = "h1"
MANY = "h1,x[1-8]"  # one more than may log in without asking ssh where; all lead to h1
MARK = "/root/killed"  # on the host
SSH = """\
#!/bin/sh
if test -e {folder}/go; then exec {ssh} "$@"; fi
touch {folder}/hangs
while ! test -e {folder}/go; do sleep 0.02; done
exit 1
"""

far = [
    pytest.mark.slow,
    pytest.mark.system("sshd"),
    pytest.mark.system("root"),
    pytest.mark.timeout(60),
]
pytestmark = pytest.mark.slow


def around(name: str) -> list[str]:
    return [f"{name}.before", f"{name}.after"]


@pytest.fixture(scope="module")
def standing_bed() -> Iterator[Bed]:
    with Bed(1) as bed:
        host = bed[HOST]
        host.sshd("AcceptEnv CORRAL_FAILPOINT CORRAL_FAILPOINT_MARK")
        names = f"Host x*\n  HostName {host.address}\n  Port {host.port}\n"
        bed.config.write_text(names + bed.config.read_text())
        yield bed


@pytest.fixture
def bed(standing_bed: Bed) -> Iterator[Bed]:
    """One host; afterwards nothing of corral is there, nor an ssh of it here."""
    yield standing_bed
    try:
        wait_until(lambda: not logins(standing_bed), what="no ssh of ours is left")
    finally:
        standing_bed[HOST].sh(f"rm -f ~/starts ~/wait ~/setup ~/go {MARK} /dev/shm/sets")
        standing_bed.see_clean()


@pytest.fixture
def remote(corral: Corral, bed: Bed) -> Corral:
    corral.environment["CORRAL_SSH"] = bed.ssh
    begin(corral, JOBS["far"])
    return corral


def words(hosts: str) -> list[str]:
    verb, *rest = JOBS["far"].words
    return [verb, "-w", hosts, *rest]


def see_through(remote: Corral, bed: Bed) -> None:
    """Go on until the run has ended, and look at it."""
    if not is_submitted(remote):
        remote(*words(HOST), code=None)
    go_on(remote, JOBS["far"])
    check_far(remote, bed)


def see_many_through(remote: Corral, bed: Bed) -> None:
    """Go on, and end only when all have joined: an agent that is just starting outlives the run."""
    bed[HOST].sh("touch ~/wait")
    process = remote.start(*(["resume"] if is_submitted(remote) else words(MANY)))
    wait_until(lambda: joined(remote) == 9, seconds=30, what="all have joined")
    bed[HOST].sh("rm ~/wait")
    assert end(process) == 0
    check_far(remote, bed)


def joined(remote: Corral) -> int:
    hosts = remote.json("hosts")["hosts"]
    return sum(host["state"] in ("probation", "up") for host in hosts)


def check_far(remote: Corral, bed: Bed) -> None:
    started = bed[HOST].sh("cat ~/starts")
    (remote.folder / "starts").write_text(started)
    check(remote, "far")


def arm_host(remote: Corral, bed: Bed, point: str) -> None:
    """Have what logins start on the host die there at a point."""
    variables = f"CORRAL_FAILPOINT={point} CORRAL_FAILPOINT_MARK={MARK}"
    remote.environment["CORRAL_SSH"] = f"{bed.ssh} -o 'SetEnv={variables}'"


def died_on_host(bed: Bed) -> bool:
    return bed[HOST].place(MARK).exists()


def end(process: Popen[str]) -> int:
    process.communicate(timeout=30)
    return process.returncode


def guard_of(master: int) -> int:
    """Give the shell that would kill a master's logins."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    (guard,) = (pid for pid in map(int, children) if processes.name(pid) == "sh")
    return guard


class TestLogin:
    pytestmark = far

    @pytest.mark.parametrize(
        ("point", "hosts"),
        [
            *((point, HOST) for point in around("ssh.start") + around("ssh.reap")),
            *((point, HOST) for point in around("guard.start") + around("guard.reap")),
            *((point, MANY) for point in around("gate.start")),
        ],
    )
    def test_a_master_killed_around_it(
        self, remote: Corral, bed: Bed, point: str, hosts: str
    ) -> None:
        with armed(remote, point, remote.folder / "killed"):
            remote(*words(hosts), code=-signal.SIGKILL)
        see_all = see_many_through if hosts == MANY else see_through
        see_all(remote, bed)

    @pytest.mark.parametrize(
        ("point", "hosts"),
        [
            *((point, HOST) for point in around("ssh.kill")),
            *((point, MANY) for point in around("gate.kill")),
        ],
    )
    def test_a_master_killed_as_it_ends_one_that_hangs(
        self, remote: Corral, bed: Bed, point: str, hosts: str
    ) -> None:
        script = SSH.format(folder=remote.folder, ssh=bed.ssh)
        remote.environment["CORRAL_SSH"] = str(remote.write("ssh", script, executable=True))
        with armed(remote, point, remote.folder / "killed"):
            process = remote.start(*words(hosts))
        wait_until(lambda: (remote.folder / "hangs").exists())
        process.send_signal(signal.SIGINT)
        assert end(process) == -signal.SIGKILL
        (remote.folder / "go").touch()
        see_all = see_many_through if hosts == MANY else see_through
        see_all(remote, bed)


class TestHost:
    pytestmark = far

    @pytest.mark.parametrize("point", around("_try_script.waitpid") + around("say.write"))
    def test_a_starter_killed_there(self, remote: Corral, bed: Bed, point: str) -> None:
        arm_host(remote, bed, point)
        code = remote(*words(HOST), code=None).returncode
        assert died_on_host(bed)
        assert code in (0, 3)
        see_through(remote, bed)

    @pytest.mark.parametrize("point", around("_wait_for.killpg"))
    def test_a_starter_killed_as_it_ends_a_setup(
        self, remote: Corral, bed: Bed, point: str
    ) -> None:
        host = bed[HOST]
        setup = "touch /dev/shm/sets; test -e ~/go || sleep 60"
        remote.write("hosts.toml", f'[hosts.{HOST}]\nsetup = "{setup}"\n')
        arm_host(remote, bed, point)
        process = remote.start(*words(HOST))
        wait_until(host.place("/dev/shm/sets").exists)
        process.send_signal(signal.SIGINT)
        end(process)
        wait_until(lambda: died_on_host(bed), what="the starter has died")
        host.sh("touch ~/go")
        see_through(remote, bed)

    @pytest.mark.parametrize("point", around("remove_all.chdir"))
    def test_a_link_killed_as_it_removes_its_folder(
        self, remote: Corral, bed: Bed, point: str
    ) -> None:
        """Its goodbye was answered; the next login removes what it has left."""
        arm_host(remote, bed, point)
        remote(*words(HOST))
        assert died_on_host(bed)
        assert bed.left() == []
        check_far(remote, bed)

    @pytest.mark.parametrize("point", around("join.waitpid"))
    def test_a_relay_killed_as_it_ends_an_agent_that_heard_nothing(
        self, remote: Corral, bed: Bed, point: str
    ) -> None:
        """Its master dies before it has read that the agent stands: its ssh was stopped."""
        host = bed[HOST]
        setup = "touch ~/setup; while ! test -e ~/go; do sleep 0.02; done"
        remote.write("hosts.toml", f'[hosts.{HOST}]\nsetup = "{setup}"\n')
        arm_host(remote, bed, point)
        process = remote.start(*words(HOST))
        wait_until(host.place("/root/setup").exists)
        (ssh,) = logins(bed)
        os.kill(ssh, signal.SIGSTOP)
        host.sh("touch ~/go")
        wait_until(lambda: "corral-relay" in {one.name for one in host.processes()})
        os.kill(guard_of(process.pid), signal.SIGKILL)
        process.kill()
        end(process)
        os.kill(ssh, signal.SIGKILL)
        wait_until(lambda: died_on_host(bed), what="the relay has died")
        see_through(remote, bed)

    @pytest.mark.parametrize("point", around("_end.kill"))
    def test_a_relay_killed_as_it_takes_over(self, remote: Corral, bed: Bed, point: str) -> None:
        """The master dies with its guard, and the relay there does not know: its ssh is stopped."""
        host = bed[HOST]
        host.sh("touch ~/wait")
        arm_host(remote, bed, point)
        process = remote.start(*words(HOST))
        wait_until(host.place("/root/starts").exists)
        (ssh,) = logins(bed)
        os.kill(ssh, signal.SIGSTOP)
        os.kill(guard_of(process.pid), signal.SIGKILL)
        process.kill()
        end(process)
        resumed = remote.start("resume")
        wait_until(lambda: died_on_host(bed), what="the relay that takes over has died")
        host.sh("rm ~/wait")
        assert end(resumed) == 0
        os.kill(ssh, signal.SIGKILL)
        check_far(remote, bed)


@pytest.mark.parametrize("point", around("users.answer"))
def test_a_master_killed_as_it_answers_a_second_command(corral: Corral, point: str) -> None:
    begin(corral, JOBS["few"])
    waits = "touch {folder}/waits; while ! test -e {folder}/go; do sleep 0.02; done; echo {a,b}"
    with armed(corral, point, corral.folder / "killed"):
        first = corral.start(
            "run", "--name", "first", "-j1", waits.replace("{folder}", str(corral.folder))
        )
    wait_until(lambda: (corral.folder / "waits").exists())
    second = corral.start(*JOBS["few"].words)
    assert end(first) == -signal.SIGKILL
    (corral.folder / "go").touch()
    assert end(second) == 0
    corral("resume", "first")
    assert corral.output("first") == "a\nb\n"
    check(corral, "few")


@pytest.mark.parametrize("point", around("end_supervisor.kill"))
def test_a_link_killed_as_it_ends_a_supervisor_that_is_frozen(corral: Corral, point: str) -> None:
    """A double fault: what it leaves is what `corral reap` is for."""
    begin(corral, JOBS["checked"])
    text = f"#!/bin/sh\ntouch {corral.folder}/checks\nwhile ! test -e {corral.folder}/go; do sleep 0.02; done\n"
    corral.write("check.sh", text, executable=True)
    with armed(corral, point, corral.folder / "killed"):
        process = corral.start(*JOBS["checked"].words)
    wait_until(lambda: (corral.folder / "checks").exists())
    supervisor = corral.named("corral-super")
    os.kill(supervisor, signal.SIGSTOP)
    (corral.folder / "go").touch()
    wait_until(lambda: (corral.folder / "killed").exists(), what="the link has died")
    with contextlib.suppress(ProcessLookupError):
        os.kill(supervisor, signal.SIGCONT)
    assert end(process) == 0
    corral("reap", "--yes")
    assert corral.agent_folders() == []
    check(corral, "checked")
