"""How many hosts can a master keep where few files may be open, and what do tasks see of that?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.corral import Corral

# Not a host: ssh that "logs in" to this very machine.
SSH = """#!/bin/sh
for word; do [ "$word" = -G ] && exit 1; done
ulimit -Sn >> {folder}/ssh.txt
sed -n 's/^Max open files *\\([0-9]*\\) .*/\\1/p' /proc/$PPID/limits >> {folder}/master.txt
for command; do :; done
exec /bin/sh -c "$command"
"""


@pytest.fixture
def remote(corral: Corral) -> Corral:
    """The command line, whose every host is this machine."""
    program = corral.write("ssh", SSH.replace("{folder}", str(corral.folder)), executable=True)
    corral.environment["CORRAL_SSH"] = str(program)
    return corral


def limit(remote: Corral, words: str) -> None:
    """Have corral started by a shell with limits of its own."""
    remote.prefix = ("/bin/sh", "-c", f'{words} && exec "$@"', "sh")


@pytest.mark.timeout(60)  # agents on two cores
def test_where_files_are_short_some_hosts_work_and_the_way_out_is_said(remote: Corral) -> None:
    """Bug: the others were refused for good for want of ssh, and the results could not be written."""
    limit(remote, "ulimit -n 64")
    done = remote("run", "-j1", "-w", "far[1-25]", "echo {1..30}")
    assert remote.output("echo").split() == [str(number) for number in range(1, 31)]
    assert "Too many open files" in done.stderr
    assert "raise `ulimit -n`" in done.stderr
    assert "OpenSSH" not in done.stderr


def test_a_master_of_hosts_may_open_more_and_what_it_starts_has_the_limit_of_the_user(
    remote: Corral,
) -> None:
    limit(remote, "ulimit -Sn 300 && ulimit -Hn 500")
    seen = {name: remote.folder / f"{name}.txt" for name in ("ssh", "master", "check")}
    remote.write("check.sh", f"#!/bin/sh\nulimit -Sn >> {seen['check']}\n", executable=True)
    here = "touch %s-$CORRAL_HOST; until test -e %s-far -a -e %s-localhost; do sleep 0.05; done"
    both = here.replace("%s", str(remote.folder / "on"))  # neither host takes both tasks
    command = f"ulimit -Sn; ulimit -Hn; {both}; : {{1,2}}"
    remote("run", "-j1", "-w", "far,localhost", "--check", "./check.sh", command)
    assert remote.output("ulimit").split() == ["300", "500"] * 2
    assert {row["host"] for row in remote.rows("ulimit")} == {"localhost", "far"}
    assert set(seen["ssh"].read_text().split()) == {"300"}
    assert set(seen["master"].read_text().split()) == {"500"}
    assert set(seen["check"].read_text().split()) == {"300"}


def test_who_asks_many_hosts_may_open_more(remote: Corral) -> None:
    limit(remote, "ulimit -Sn 20 && ulimit -Hn 500")
    done = remote("hosts", "check", "-w", "far[1-5]")
    assert "Too many open files" not in done.stdout + done.stderr
    assert set((remote.folder / "master.txt").read_text().split()) == {"500"}
    assert set((remote.folder / "ssh.txt").read_text().split()) == {"20"}
