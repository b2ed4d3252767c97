"""Which hosts can be used, and what is said of one that cannot?

A host that cannot be used is named with its reason and the way out, and costs the others nothing;
alone it ends the command with exit code 3 and the same two lines.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import parts
from tests.ssh.logins import logins
from tests.support.hosts import Bed
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.corral import Corral
    from tests.support.hosts import Host

pytestmark = [
    pytest.mark.system("sshd"),
    pytest.mark.system("root"),
    pytest.mark.timeout(60),  # several commands with logins each, on a machine that is shared
]

PLACES = ("/var/tmp", "/tmp", "/root/.cache")  # where a work folder may be


@pytest.fixture(scope="module")
def standing_ward() -> Iterator[Bed]:
    """Two sound hosts, h1 and h3, and h2 that each test makes ill in its own way."""
    with Bed(3) as bed:
        yield bed


@pytest.fixture
def ward(standing_ward: Bed) -> Iterator[Bed]:
    yield standing_ward
    try:
        standing_ward.see_clean()
    finally:
        heal(standing_ward["h2"])


@pytest.fixture
def remote(corral: Corral, ward: Bed) -> Iterator[Corral]:
    """The command line, which reaches the ward's hosts; it leaves no ssh behind."""
    corral.environment["CORRAL_SSH"] = ward.ssh
    yield corral
    wait_until(lambda: not logins(ward), what="no ssh of ours is left")


def heal(host: Host) -> None:
    """Make a host as it was."""
    host.plug()
    host.let_in()
    host.sshd()
    host.shell("/bin/bash")
    host.own_python()
    host.sh("rm -rf ~/.bashrc ~/.cache")


def mount(how: str, *places: str) -> Callable[[Host], None]:
    """Spoil places of a host."""

    def spoil(host: Host) -> None:
        host.sh("mkdir -p ~/.cache")
        for place in places:
            host.mount(place, how)  # type: ignore[arg-type]  # a word of the table below

    return spoil


def force(command: str) -> Callable[[Host], None]:
    return lambda host: host.sshd(f"ForceCommand {command}")


ILL = {
    "refused key": (
        lambda host: host.lock_out(),
        "Permission denied (publickey)",
        "ssh-copy-id h2",
    ),
    "no sshd": (lambda host: host.crash(), "port 22: Connection refused", "is its sshd running"),
    "no Python": (
        lambda host: host.no_python(),
        "it has no python3 that corral finds",
        "set python = …",
    ),
    "Python 3.4": (
        lambda host: host.old_python(),
        "its Python is older than 3.6 or has no zlib: python3",
        "set python = …",
    ),
    "read-only": (mount("ro", *PLACES), "/tmp: Read-only file system; /root/.cache", "set workdir"),
    "noexec": (
        mount("noexec", *PLACES),
        "/tmp: a script does not run there: Permission denied",
        "set workdir",
    ),
    "full": (mount("full", *PLACES), "/tmp: less than 64 MiB are free", "set workdir"),
    "another command": (
        force("/bin/echo hello"),
        "its login runs another command than corral's (it ended with 0): 'hello'",
        "ForceCommand in its sshd_config",
    ),
    "no shell": (
        lambda host: host.shell("/usr/sbin/nologin"),
        "its login runs another command",
        "nologin",
    ),
    "rc that exits": (
        lambda host: host.rc("exit 3"),
        "its login runs another command than corral's (it ended with 3)",
        "a start-up file that exits",
    ),
}


@pytest.mark.parametrize("illness", ILL)
def test_a_host_that_cannot_be_used_is_named_and_the_others_do_all(
    remote: Corral, ward: Bed, illness: str
) -> None:
    spoil, reason, hint = ILL[illness]
    spoil(ward["h2"])
    try:
        check_named(remote, "h2", reason, hint)
    finally:
        restore(ward["h2"], illness)


def restore(host: Host, illness: str) -> None:
    """Undo what `heal` cannot."""
    if illness == "no sshd":
        host.start()
    if illness in ("read-only", "noexec", "full"):
        for place in PLACES:
            host.unmount(place)


def check_named(remote: Corral, name: str, reason: str, hint: str) -> None:
    """See a host named both beside others, which do everything, and alone."""
    done = remote("run", "-w", f"h1,{name},h3", "sleep 0.1; echo {1..6}")
    assert remote.output("sleep") == "1\n2\n3\n4\n5\n6\n"
    assert {row["host"] for row in remote.rows("sleep")} <= {"h1", "h3"}
    told(done.stderr, name, reason, hint)
    told(remote("run", "-w", name, "echo {1..3}", code=3).stderr, name, reason, hint)


def told(text: str, name: str, reason: str, hint: str) -> None:
    """See two lines: what is wrong with a host, and what to do."""
    lines = text.splitlines()
    found = [
        (line, after)
        for line, after in itertools.pairwise(lines)
        if line.removeprefix("corral: ").startswith(f"{name}: ") and reason in line
    ]
    assert found, text
    assert found[0][1].startswith("  try: "), text
    assert hint in found[0][1], text
    assert "suspect" not in text, text


def test_a_program_that_never_answers_is_given_up(remote: Corral, ward: Bed) -> None:
    dies = "head -c 5000 >/dev/null; echo no such module >&2; exit 1"
    ward["h2"].sh(f"printf '#!/bin/sh\\n{dies}\\n' > ~/dies; chmod +x ~/dies")
    remote.write("hosts.toml", '[hosts.h2]\npython = "~/dies"\n')
    done = remote("run", "-w", "h2", "echo {1..3}", code=3)
    assert "corral: h2: the agent did not start: no such module" in done.stderr
    assert remote.json("hosts")["hosts"][0]["state"] == "unreachable"
    remote("run", "-w", "h1,h2", "--fresh", "echo {1..3}")
    assert remote.output("echo") == "1\n2\n3\n"


def test_an_unknown_name_is_named(remote: Corral) -> None:
    check_named(remote, "nosuch", "Could not resolve hostname nosuch", "check the spelling")


def test_a_changed_host_key_is_named(corral: Corral, bed: Bed) -> None:
    corral.environment["CORRAL_SSH"] = bed.ssh
    bed["h2"].new_host_key()
    check_named(corral, "h2", "its host key has changed", "ssh-keygen -R h2")


def test_an_unknown_host_key_is_named(corral: Corral, bed: Bed) -> None:
    corral.environment["CORRAL_SSH"] = bed.ssh
    known = bed.folder / "known_hosts"
    known.write_text("".join(known.read_text().splitlines(keepends=True)[::2]))  # not h2's
    check_named(corral, "h2", "its host key is not known here", "look at its key once: ssh -F")


def test_others_do_not_wait_for_an_unplugged_host(remote: Corral, ward: Bed) -> None:
    began = time.monotonic()
    remote("run", "-w", "h[1,3]", "echo {1..6}")
    without = time.monotonic() - began
    ward["h2"].unplug()
    began = time.monotonic()
    done = remote("run", "-w", "h[1-3]", "true; echo {1..6}")
    assert time.monotonic() - began < without + 5.0  # half of what ssh tries to connect for
    assert re.search(r"h\S*2\S*: not reached before the run ended", done.stderr), done.stderr
    assert remote.output("true") == "1\n2\n3\n4\n5\n6\n"


def test_an_unplugged_host_alone_is_no_usable_host(remote: Corral, ward: Bed) -> None:
    ward["h2"].unplug()
    told(
        remote("run", "-w", "h2", "echo {1..3}", code=3).stderr,
        "h2",
        "Connection timed out",
        "is it switched on",
    )


def test_a_host_whose_name_cannot_be_looked_up_for_now_is_tried_again(
    remote: Corral, ward: Bed
) -> None:
    """Bug: it was told to have its spelling checked, and not used to the end of the run."""
    remote.environment["CORRAL_SSH"] = str(
        remote.write(
            "ssh-without-names",
            '#!/bin/sh\ncase "$*" in *"-- h2 "*) mkdir once 2>/dev/null && {\n'
            "echo ssh: Could not resolve hostname h2: Temporary failure in name resolution >&2\n"
            f'exit 255; }} ;; esac\nexec {ward.ssh} "$@"\n',
            executable=True,
        )
    )
    both = "mkdir -p /tmp/came; until test -e /tmp/came/go; do sleep 0.05; done; echo {1..2}"
    process = remote.start("run", "-w", "h[1-2]", "-j1", both)
    wait_until(lambda: running(remote) == {"h1": 1, "h2": 1}, seconds=30, what="both are used")
    for name in ("h1", "h2"):
        ward[name].sh("touch /tmp/came/go")
    _, said = process.communicate(timeout=40)
    for name in ("h1", "h2"):
        ward[name].sh("rm -r /tmp/came")
    assert process.returncode == 0, said
    told(said, "h2", "Temporary failure in name resolution", "corral tries again")


@pytest.mark.parametrize(
    ("ill", "reason", "hint"),
    [
        ("h3", "on the way: the jump host cannot reach it: No route to host", "is it switched on"),
        ("h2", "on the way: root@{h2}: Permission denied (publickey)", "ssh-copy-id root@{h2}"),
    ],
    ids=["the host", "its jump host"],
)
def test_who_is_ill_on_the_way_by_a_jump_host_is_named(
    remote: Corral, ward: Bed, ill: str, reason: str, hint: str
) -> None:
    """Bug: the one was told to be under load, the other had to be guessed."""
    own = ward.config.read_text()
    behind = f"Host behind\n  HostName {ward['h3'].address}\n  ProxyJump h2\n"
    ward.config.write_text(behind + own)
    address = {"h2": ward["h2"].address}
    if ill == "h3":
        ward["h3"].unplug()
    else:
        ward["h2"].lock_out()
    try:
        done = remote("hosts", "check", "-w", "behind", code=3)
    finally:
        ward.config.write_text(own)
        ward["h3"].plug()
    told(done.stdout, "behind", reason.format(**address), hint.format(**address))


def test_a_wrong_python_of_the_host_is_named(remote: Corral) -> None:
    remote.write("hosts.toml", '[hosts.h2]\npython = "/opt/none/python3"\n[hosts."h[1,3]"]\n')
    check_named(remote, "h2", "/opt/none/python3 is no Python 3.6 or newer", "python = …")


# ---------------------------------------------------------------- hosts that are odd, but will do


SOUND = {
    "read-only /var/tmp": mount("ro", "/var/tmp"),
    "noexec /var/tmp": mount("noexec", "/var/tmp"),
    "full /var/tmp and /tmp": mount("full", "/var/tmp", "/tmp"),
}


@pytest.mark.parametrize("illness", SOUND)
def test_the_next_place_is_used_where_one_will_not_do(
    remote: Corral, ward: Bed, illness: str
) -> None:
    SOUND[illness](ward["h2"])
    try:
        remote("run", "-w", "h2", "pwd {n=1..2}")
        want = "/root/.cache/" if "and" in illness else "/tmp/"
        assert all(line.startswith(want) for line in remote.output("pwd").splitlines())
    finally:
        for place in re.findall(r"/\S+", illness):
            ward["h2"].unmount(place)


FORWARD = '/bin/sh -c "$SSH_ORIGINAL_COMMAND"'
FORGIVEN: dict[str, Callable[[Host], None]] = {
    "no forwarding": lambda host: host.sshd("DisableForwarding yes"),
    "forced, but ours": force(FORWARD),
    "rc prints": lambda host: host.rc("echo Welcome"),
    "rc prints no newline": lambda host: host.rc("printf 'Welcome to hell: '"),
    "rc writes to stderr": lambda host: host.rc("echo Welcome >&2; head -c 300000 /dev/zero >&2"),
    "rc prints megabytes": lambda host: host.rc("seq 1 500000"),
    "rc prints a long line": lambda host: host.rc("head -c 5000000 /dev/zero | tr '\\0' x"),
    "rc talks like us": lambda host: host.rc("echo corral-no-pythons; echo corral abc {}"),
    "sh": lambda host: host.shell("/bin/sh"),
    "dash": lambda host: host.shell("/usr/bin/dash"),
}
SHELLS = {
    "tcsh": "/usr/bin/tcsh",
    "csh": "/bin/csh",
    "fish": "/usr/bin/fish",
    "zsh": "/usr/bin/zsh",
}
FORGIVEN |= {
    name: lambda host, path=path: host.shell(path)  # type: ignore[misc]  # bound at once
    for name, path in SHELLS.items()
    if os.access(path, os.X_OK) or os.environ.get("CI")
}


@pytest.mark.parametrize("oddity", FORGIVEN)
def test_an_odd_login_does_as_well(remote: Corral, ward: Bed, oddity: str) -> None:
    FORGIVEN[oddity](ward["h2"])
    remote("run", "-w", "h2", "echo {1..2}@$(hostname)")
    assert remote.output("echo") == "1@h2\n2@h2\n"


# ---------------------------------------------------------------- settings of a host


SETTINGS = f"""
[hosts.h1]
setup = "export FROM_SETUP=1; cd /\\nFROM_SETUP=2"
env = {{ FROM_ENV = "a b" }}
workdir = "/run/work"

[hosts.h2]
setup = "true\\nls /none/there\\ntrue"

[hosts.h3]
python = "{parts.pythons()[0] if parts.pythons()[0].startswith("/usr") else "/usr/bin/python3"}"
slots = 3
"""


def test_settings_of_a_host_hold_for_its_tasks(remote: Corral, ward: Bed) -> None:
    remote.write("hosts.toml", SETTINGS)
    ward["h1"].sh("mkdir -p /run/work")
    remote.environment["SECRET"] = "of the caller"
    remote.environment["CHOSEN"] = "by --env"
    remote(
        "run", "-w", "h1", "--env", "CHOSEN", "--env", "GIVEN=x y",
        'echo "$FROM_SETUP|$FROM_ENV|$SECRET|$CHOSEN|$GIVEN|$PWD" {n=1}',
    )  # fmt: skip
    said = remote.output("echo").split("|")
    assert said[:5] == ["2", "a b", "", "by --env", "x y"]
    assert said[5].startswith("/run/work/corral-0/")
    assert ward["h1"].sh("ls /run/work") == ""


def test_a_workdir_that_will_not_do_is_named_and_passed_over(remote: Corral) -> None:
    """Bug: it was passed over without a word."""
    remote.write("hosts.toml", '[hosts.h1]\nworkdir = "/proc"\n[hosts.h2]\nworkdir = "~"\n')
    said = remote("run", "-w", "h[1-2]", "echo {1..2}").stderr
    assert "h1: its workdir /proc cannot be used" in said
    assert "h2: " not in said
    checked = remote("hosts", "check", "-w", "h[1-2]").stdout
    assert "h1: its workdir /proc cannot be used" in checked
    assert "/var/tmp serves" in checked
    one, two = remote.json("hosts", "check", "-w", "h[1-2]")["hosts"]
    assert (bool(one["note"]), two["note"]) == (True, "")


def test_a_failing_setup_is_named(remote: Corral) -> None:
    remote.write("hosts.toml", SETTINGS)
    check_named(remote, "h2", "its setup failed: ls: cannot access '/none/there'", "mend setup")


def test_slots_say_how_many_tasks_run_at_once(remote: Corral, ward: Bed) -> None:
    """A host that is new gets all its slots after some successes: then its tasks wait to be let go."""
    remote.write("hosts.toml", SETTINGS)
    command = (
        "test $(ls /dev/shm/began | wc -l) -lt 4 || until test -e /dev/shm/go; do sleep 0.05; done;"
        " touch /dev/shm/began/$CORRAL_TASK; echo {1..24}"
    )
    two = [ward[name] for name in ("h1", "h3")]
    for host in two:
        host.sh("mkdir /dev/shm/began")
    process = remote.start("run", "-w", "h3,2*h1", "--no-twins", command)
    wait_until(
        lambda: running(remote) == {"h1": 2, "h3": 3}, seconds=30, what="all slots are taken"
    )
    for host in two:
        host.write("/dev/shm/go", "")
    _, said = process.communicate(timeout=40)
    for host in two:
        host.sh("rm -r /dev/shm/began /dev/shm/go")
    assert process.returncode == 0, said
    slots = {(row["host"], row["slot"]) for row in remote.rows("test", "attempts.csv")}
    assert slots == {("h1", "0"), ("h1", "1"), ("h3", "0"), ("h3", "1"), ("h3", "2")}


def running(remote: Corral) -> Counter[str]:
    """Count what runs, by host."""
    done = remote("attempts", "--json", code=None)
    found = json.loads(done.stdout)["attempts"] if done.returncode == 0 else []
    return Counter(one["host"] for one in found if one["state"] == "running")


# ---------------------------------------------------------------- crowds


@pytest.mark.parametrize(("crowd", "limit"), [(20, 10), (4, 1)], ids=["many", "strict server"])
def test_a_crowd_at_one_endpoint_all_comes_in(
    remote: Corral, ward: Bed, crowd: int, limit: int
) -> None:
    """OpenSSH's own limit is 10; corral's is below, so that it is met only by a stricter one."""
    ward["h2"].sshd(f"MaxStartups {limit}:100:{limit}")
    config = ward.folder / "crowd_config"
    config.write_text(f"Host alias*\n  HostName {ward['h2'].address}\n{ward.config.read_text()}")
    remote.environment["CORRAL_SSH"] = f"ssh -F {config}"
    before = ward["h2"].log()
    meet = f"until [ $(ls /tmp/came | wc -l) = {crowd} ]; do sleep 0.05; done"
    done = remote(
        "run", "-w", f"alias[1-{crowd}]", "-j1",
        f"mkdir -p /tmp/came; echo > /tmp/came/$CORRAL_HOST; {meet}; echo {{1..{crowd}}}",
    )  # fmt: skip
    ward["h2"].sh("rm -r /tmp/came")
    assert {row["host"] for row in remote.rows("mkdir")} == {f"alias{n + 1}" for n in range(crowd)}
    assert "try:" not in done.stderr, "no host was in trouble"
    if limit > 8:
        assert "drop connection" not in ward["h2"].log().removeprefix(before)


@pytest.mark.parametrize("name", ["h2", "behind"], ids=["the host", "its jump host"])
def test_a_login_that_nobody_answers_dies_with_its_master(
    remote: Corral, ward: Bed, name: str
) -> None:
    """It lived on for the ten seconds that ssh tries to connect."""
    ward.config.write_text(f"Host behind\n  ProxyJump h2\n{ward.config.read_text()}")
    ward["h2"].unplug()
    process = remote.start("run", "-w", name, "echo {1..3}")
    wait_until(lambda: any(connects(pid) for pid in logins(ward)), what="ssh tries to connect")
    process.kill()
    process.wait()
    wait_until(lambda: not logins(ward), seconds=5.0, what="no ssh of ours is left")


def connects(pid: int) -> bool:
    """Say whether an ssh has a socket of its own, beside those that it was started with."""
    with contextlib.suppress(OSError):  # it has ended
        fds = [fd for fd in Path(f"/proc/{pid}/fd").iterdir() if int(fd.name) > 2]
        return any(str(fd.readlink()).startswith("socket:") for fd in fds)
    return False
