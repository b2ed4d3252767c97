"""Does the bed of hosts do what it says? Tests that stand on it can then trust it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.support.hosts import Bed, BedError, Host, NeedsNamespaces, processes
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.ssh.conftest import Beds

pytestmark = [pytest.mark.system("sshd"), pytest.mark.system("root")]

DAEMON = "setsid sleep 1000 > /dev/null 2>&1 < /dev/null & echo $!"


def login(
    bed: Bed, name: str, command: str, *, patience_s: int = 10
) -> subprocess.CompletedProcess[str]:
    """Run a command as any user of ssh would."""
    return subprocess.run(
        [*bed.ssh.split(), "-o", f"ConnectTimeout={patience_s}", name, command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def answers(bed: Bed, name: str = "h1") -> bool:
    return login(bed, name, "echo here").stdout == "here\n"


def connected(host: Host) -> socket.socket:
    """Connect to a host's sshd, as far as its banner."""
    one = socket.create_connection((host.address, host.port), timeout=5)
    assert one.recv(100).startswith(b"SSH-2.0")
    return one


# ---------------------------------------------------------------- what a host is


def test_every_host_has_its_own_name_files_and_processes(bed: Bed) -> None:
    for name in bed.names:
        login(bed, name, f"touch /tmp/{name} /var/tmp/{name} ~/{name}; {DAEMON}")
    for name in bed.names:
        seen = login(bed, name, "hostname; ls /tmp /var/tmp ~; pgrep -c sleep").stdout.split()
        assert seen == [name, "/root:", name, "/tmp:", name, "/var/tmp:", name, "1"]
        assert not Path("/tmp", name).exists()


def test_hosts_run_the_python_of_the_tests(bed: Bed) -> None:
    seen = login(bed, "h1", "python3 -c 'import sys, ssl; print(sys.version)'")
    assert seen.stdout.rstrip("\n") == sys.version


def test_hosts_reach_each_other_but_nothing_else(bed: Bed) -> None:
    through = subprocess.run(
        [*bed.ssh.split(), "-J", "h1", "h2", "hostname"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert through.stdout == "h2\n", through.stderr
    assert "unreachable" in bed["h1"].sh("ip route get 192.0.2.1 2>&1", check=False)


def test_a_command_without_ssh_runs_in_the_host(bed: Bed) -> None:
    assert bed["h2"].sh("hostname; pwd") == "h2\n/root\n"
    with pytest.raises(BedError, match="h2: false: exit 1"):
        bed["h2"].sh("false")


def test_files_are_written_and_read_in_the_host(bed: Bed) -> None:
    bed["h1"].write("/tmp/deep/program", "#!/bin/sh\necho it runs\n", 0o755)
    assert login(bed, "h1", "/tmp/deep/program").stdout == "it runs\n"
    login(bed, "h1", "echo said > /tmp/there")
    assert bed["h1"].read("/tmp/there") == "said\n"


def test_processes_are_listed_with_pids_of_this_machine(bed: Bed) -> None:
    host = bed["h1"]
    assert host.processes() == []
    login(bed, "h1", DAEMON)
    wait_until(lambda: [one.name for one in host.processes()] == ["sleep"])
    os.kill(host.processes()[0].pid, signal.SIGKILL)
    wait_until(lambda: host.processes() == [])


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(f"CORRAL_TICKET=t1 {DAEMON}", id="by environment"),
        pytest.param("exec 0<&- 1>&- 2>&-; (exec -a corral-link sleep 1000) &", id="by name"),
        pytest.param(
            "cp /bin/sleep /tmp/corral-agent; exec 0<&- 1>&- 2>&-; /tmp/corral-agent 1000 &",
            id="by program",
        ),
        pytest.param(
            "exec 0<&- 1>&- 2>&-; python3 -c 'import signal; signal.pause()' agent.py &",
            id="by source",
        ),
    ],
)
def test_ours_is_what_belongs_to_corral(bed: Bed, command: str) -> None:
    login(bed, "h1", DAEMON)
    login(bed, "h1", command)
    wait_until(lambda: [one.name for one in bed["h1"].processes()].count("sleep") >= 1)
    wait_until(lambda: len(bed["h1"].ours()) == 1)
    wait_until(lambda: len(bed["h1"].processes()) == 2)


def test_files_of_ours_are_found_wherever_an_agent_may_put_them(bed: Bed) -> None:
    for place in ("/tmp/corral-0/a", "/var/tmp/corral-0/a", "/root/.cache/corral-0/a"):
        bed["h1"].write(place, "")
        assert place in bed["h1"].files()
    bed["h1"].write("/tmp/other", "")
    assert len(bed["h1"].files()) == 6


def test_what_is_left_is_listed_until_it_is_cleaned_away(bed: Bed) -> None:
    assert bed.left() == []
    login(bed, "h2", f"CORRAL_TICKET=t1 {DAEMON}")
    bed["h3"].write("/var/tmp/corral-0", "")
    wait_until(lambda: len(bed.left()) == 2)
    assert bed.left()[0].startswith("h2: process ")
    assert bed.left()[1] == "h3: file /var/tmp/corral-0"
    bed.clean()
    assert bed.left() == []
    assert answers(bed, "h2")


def test_a_farm_stands_for_all_tests(farm: Bed, standing_farm: Bed) -> None:
    assert farm is standing_farm
    assert [name for name in farm.names if answers(farm, name)] == farm.names


# ---------------------------------------------------------------- network


def test_an_unplugged_host_is_silent_until_plugged(bed: Bed) -> None:
    bed["h1"].unplug()
    assert "timed out" in login(bed, "h1", "true", patience_s=1).stderr
    assert answers(bed, "h2")
    bed["h1"].plug()
    assert answers(bed)


@pytest.mark.system("nft")
@pytest.mark.parametrize(("way", "heard"), [("in", False), ("out", True), ("both", False)])
def test_a_cut_drops_packets_of_one_way_or_both(
    bed: Bed, way: Literal["in", "out", "both"], heard: bool
) -> None:
    host = bed["h1"]
    host.cut(way)
    with socket.socket() as one:
        one.setblocking(False)
        one.connect_ex((host.address, host.port))
        if heard:
            wait_until(lambda: half_open(host), what="the host heard us")
    assert "timed out" in login(bed, "h1", "true", patience_s=1).stderr
    assert heard or not half_open(host)
    host.heal()
    assert answers(bed)


def half_open(host: Host) -> bool:
    """Say whether the host has heard someone whom its answer did not reach."""
    sockets = Path(f"/proc/{host.pid}/net/tcp").read_text()
    return re.search(r":0016 \w+:\w+ 03 ", sockets) is not None  # port 22; 03: SYN_RECV


# ---------------------------------------------------------------- power


def test_a_killed_host_dies_in_silence(bed: Bed) -> None:
    host = bed["h1"]
    with connected(host) as one:
        host.kill()
        one.setblocking(False)
        with pytest.raises(BlockingIOError):  # neither an end nor a reset
            one.recv(1)
    assert "timed out" in login(bed, "h1", "true", patience_s=1).stderr
    host.start()
    assert answers(bed)


def test_a_crashed_host_breaks_its_connections(bed: Bed) -> None:
    host = bed["h1"]
    login(bed, "h1", DAEMON)
    with connected(host) as one:
        host.crash()
        assert host.processes() == []
        assert ended(one)
    assert "refused" in login(bed, "h1", "true").stderr
    host.start()
    assert answers(bed)


def ended(one: socket.socket) -> bool:
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_reboot_ends_processes_and_empties_tmp_alone(bed: Bed) -> None:
    host = bed["h1"]
    login(bed, "h1", f"touch /tmp/gone /var/tmp/kept ~/kept; {DAEMON}")
    before = host.pid
    host.reboot()
    assert host.pid != before
    assert host.processes() == []
    seen = login(bed, "h1", "ls /tmp; ls /var/tmp; ls ~; stat -c %a /tmp")
    assert seen.stdout.split() == ["kept", "kept", "1777"]


def test_a_frozen_host_takes_connections_but_says_nothing(bed: Bed) -> None:
    host = bed["h1"]
    login(bed, "h1", DAEMON)
    host.freeze()
    assert all(processes.is_stopped(one.pid) for one in host.processes())
    assert "banner" in login(bed, "h1", "true", patience_s=1).stderr
    host.thaw()
    assert answers(bed)


# ---------------------------------------------------------------- login


def test_options_of_sshd_come_and_go(bed: Bed) -> None:
    bed["h1"].sshd("ForceCommand echo forced", "DisableForwarding yes")
    assert login(bed, "h1", "echo here").stdout == "forced\n"
    bed["h1"].sshd()
    assert answers(bed)


def test_a_wrong_option_of_sshd_is_told(bed: Bed) -> None:
    with pytest.raises(BedError, match="Bad configuration option: NoSuchOption"):
        bed["h1"].sshd("NoSuchOption yes")


def test_sessions_outlive_a_new_sshd(bed: Bed) -> None:
    with subprocess.Popen(
        [*bed.ssh.split(), "h1", "echo on; cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as session:
        assert session.stdout
        assert session.stdin
        assert session.stdout.readline() == "on\n"
        bed["h1"].sshd("MaxSessions 1")
        session.stdin.write("still\n")
        session.stdin.close()
        assert session.stdout.read() == "still\n"


@pytest.mark.parametrize(
    "shell",
    [
        pytest.param("/usr/bin/tcsh", marks=pytest.mark.system("tcsh")),
        pytest.param("/usr/bin/fish", marks=pytest.mark.system("fish")),
        "/bin/bash",
        "/bin/sh",
    ],
)
def test_the_login_shell_can_be_chosen(bed: Bed, shell: str) -> None:
    bed["h1"].shell(shell)
    assert login(bed, "h1", "echo $SHELL").stdout == f"{shell}\n"
    assert login(bed, "h2", "echo $SHELL").stdout == "/bin/bash\n"


def test_a_new_host_key_is_not_trusted(bed: Bed) -> None:
    bed["h1"].new_host_key()
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in login(bed, "h1", "true").stderr


def test_who_is_locked_out_is_let_in_again(bed: Bed) -> None:
    bed["h1"].lock_out()
    assert "Permission denied (publickey)" in login(bed, "h1", "true").stderr
    bed["h1"].let_in()
    assert answers(bed)


def test_an_rc_file_speaks_at_each_login(bed: Bed) -> None:
    bed["h1"].rc("echo noise; echo louder >&2")
    seen = login(bed, "h1", "echo here")
    assert (seen.stdout, seen.stderr) == ("noise\nhere\n", "louder\n")


# ---------------------------------------------------------------- Python


def test_no_python_is_found_until_it_is_back(bed: Bed) -> None:
    host = bed["h1"]
    anywhere = "ls -d /usr/bin/python3* /usr/local/bin/python3* ~/.pyenv/versions/*/bin 2>&1"
    host.no_python()
    assert "/python3\n" not in host.sh(anywhere, check=False)
    assert login(bed, "h1", "python3 -V").returncode == 127
    assert login(bed, "h2", "python3 -V").returncode == 0
    host.own_python()
    assert login(bed, "h1", "python3 -V").returncode == 0


def test_an_old_python_says_so_and_refuses_what_is_new(bed: Bed) -> None:
    bed["h1"].old_python()
    assert login(bed, "h1", "python3 --version").stdout == "Python 3.4.10\n"
    told = "python3 -I -S -c 'import sys; print(*sys.version_info[:2], sys.argv)' x"
    assert login(bed, "h1", told).stdout == "3 4 ['-c', 'x']\n"
    assert "SyntaxError" in login(bed, "h1", """echo 'f"{1}"' | python3 -""").stderr
    assert "/python3.11\n" not in login(bed, "h1", "ls /usr/bin/python3*").stdout
    bed["h1"].own_python()
    assert login(bed, "h1", told).stdout != "3 4 ['-c', 'x']\n"


# ---------------------------------------------------------------- disk


@pytest.mark.parametrize(
    ("how", "said"),
    [("ro", "Read-only file system"), ("noexec", "Permission denied"), ("full", "No space left")],
)
def test_a_folder_can_be_made_useless(
    bed: Bed, how: Literal["ro", "noexec", "full"], said: str
) -> None:
    script = "printf '#!/bin/sh\\necho ran\\n' > /var/tmp/x && chmod +x /var/tmp/x && /var/tmp/x"
    bed["h1"].mount("/var/tmp", how)
    assert said in login(bed, "h1", script).stderr
    assert login(bed, "h2", script).stdout == "ran\n"
    bed["h1"].unmount("/var/tmp")
    assert login(bed, "h1", script).stdout == "ran\n"


def test_a_filled_disk_has_the_room_that_was_said(bed: Bed) -> None:
    bed["h1"].fill("/tmp", free="1M")
    assert login(bed, "h1", "head -c 1M /dev/zero > /tmp/x").returncode == 0
    assert "No space left" in login(bed, "h1", "echo >> /tmp/y").stderr


# ---------------------------------------------------------------- beds


def test_beds_do_not_disturb_each_other(beds: Beds) -> None:
    one, other = beds(1), beds(1)
    assert one["h1"].address != other["h1"].address
    one["h1"].write("/tmp/mark", "one")
    assert login(one, "h1", "cat /tmp/mark").stdout == "one"
    assert login(other, "h1", "cat /tmp/mark").returncode == 1


def test_without_namespaces_hosts_are_ports(beds: Beds) -> None:
    bed = beds(2, namespaces=False)
    one, other = bed
    assert (one.address, other.address) == ("127.0.0.1", "127.0.0.1")
    login(bed, "h1", DAEMON)
    wait_until(lambda: [process.name for process in one.processes()] == ["sleep"])
    assert other.processes() == []
    one.rc("echo noise")
    assert login(bed, "h1", "echo $HOME").stdout.split() == ["noise", str(one.folder / "home")]
    assert answers(bed, "h2")
    one.lock_out()
    assert "Permission denied" in login(bed, "h1", "true").stderr
    with pytest.raises(NeedsNamespaces, match="h1: no reboot"):
        one.reboot()


# ---------------------------------------------------------------- nothing is left


@pytest.fixture
def by_hand() -> Iterator[subprocess.Popen[str]]:
    """A bed of two hosts that another process holds."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.hosts", "up", "2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def told(process: subprocess.Popen[str]) -> Path:
    """Wait for a bed that another process holds; gives its folder."""
    assert process.stdout
    words = process.stdout.readline().split()
    assert words[:3] == ["export", "CORRAL_SSH='ssh", "-F"]
    return Path(words[3].rstrip("'")).parent


def mounts() -> set[str]:
    return set(Path("/proc/self/mountinfo").read_text().splitlines())


def links(pid: int) -> list[str]:
    return [name for name in os.listdir("/sys/class/net") if name.startswith(f"bed{pid}-")]


@pytest.mark.parametrize("namespaces", [True, False], ids=["namespaces", "loopback"])
def test_nothing_is_left_after_a_bed(namespaces: bool) -> None:
    before, links_before = mounts(), links(os.getpid())
    with pytest.raises(ZeroDivisionError), Bed(2, namespaces=namespaces) as bed:
        folder = bed.folder
        for host in bed:
            login(bed, host.name, DAEMON)
        wait_until(lambda: all(host.processes() for host in bed), what="each has its daemon")
        ours = [pid for host in bed for pid in (host.pid, *processes.below(host.pid))]
        assert len(ours) == 6  # of each host its first process, sshd and the daemon
        assert len(links(os.getpid())) == len(links_before) + namespaces
        if namespaces:
            bed["h1"].freeze()
            bed["h2"].mount("/var/tmp", "ro")
        raise ZeroDivisionError
    assert not folder.exists()
    assert mounts() == before
    assert links(os.getpid()) == links_before
    assert [pid for pid in ours if processes.read(pid)] == []


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda process: process.stdin.close(), id="end of stdin"),
        pytest.param(lambda process: process.send_signal(signal.SIGINT), id="SIGINT"),
        pytest.param(lambda process: process.send_signal(signal.SIGTERM), id="SIGTERM"),
        pytest.param(lambda process: process.send_signal(signal.SIGKILL), id="SIGKILL"),
    ],
)
def test_nothing_is_left_however_its_process_ends(
    by_hand: subprocess.Popen[str], end: Callable[[subprocess.Popen[str]], None]
) -> None:
    folder = told(by_hand)
    ours = processes.below(by_hand.pid)
    assert len(ours) >= 7  # per host unshare, init and sshd; the keeper
    assert links(by_hand.pid)
    end(by_hand)
    wait_until(lambda: not [pid for pid in ours if processes.read(pid)], what="no process")
    wait_until(lambda: not folder.exists(), what="no folder")
    wait_until(lambda: not links(by_hand.pid), what="no link")


def test_the_next_bed_removes_what_was_left(by_hand: subprocess.Popen[str]) -> None:
    folder = told(by_hand)
    for pid in [by_hand.pid, *processes.below(by_hand.pid)]:
        processes.send(pid, signal.SIGKILL)  # the keeper too, so that nobody tidies up
    by_hand.wait()
    assert folder.exists()
    with Bed(1):
        assert not folder.exists()


def test_hosts_are_told_what_to_do_by_hand(by_hand: subprocess.Popen[str]) -> None:
    told(by_hand)
    out, _ = by_hand.communicate("h1 unplug\nh2 sh hostname; pwd\nh3 plug\nh1 nothing\n")
    assert out.splitlines() == [
        "ok",
        "h2",
        "/root",
        "",
        "HOST OPERATION [ARGUMENT]; hosts: h1 h2",
        "'Host' object has no attribute 'nothing'",
    ]
