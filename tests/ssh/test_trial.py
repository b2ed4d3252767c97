"""``corral test`` on real ssh hosts: who is well, who is not and why, and nothing is left anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ssh.logins import logins
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.corral import Corral
    from tests.support.hosts import Bed

pytestmark = [
    pytest.mark.system("sshd"),
    pytest.mark.system("root"),
    pytest.mark.timeout(60),  # several commands with logins each, on a machine that is shared
]


@pytest.fixture
def remote(corral: Corral, farm: Bed, tmp_path: Path) -> Iterator[Corral]:
    """The command line, which reaches the farm's hosts and is to leave nothing, here or there."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    corral.environment |= {"CORRAL_SSH": farm.ssh, "TMPDIR": str(temporary)}
    corral.folder = tmp_path / "work"
    corral.folder.mkdir()
    yield corral
    assert list(temporary.iterdir()) == []
    assert not (corral.folder / ".corral").exists()
    assert not (corral.folder / "results").exists()
    wait_until(lambda: not logins(farm), what="no ssh of ours is left")
    assert farm.left() == []


def test_sound_hosts_give_the_same(remote: Corral) -> None:
    remote.write("sim.py", "import sys; print('T is', sys.argv[2]); open('o', 'w').write('x')\n")
    done = remote("test", "-w", "h[1-3]", "python3 sim.py -T {1..5} {>o}")
    assert "h[1-3]  linux" in done.stdout
    assert "h[1-3]: done in" in done.stdout
    assert "the same output (7 B on stdout)" in done.stdout
    assert "each host runs: python3 sim.py -T 1 o" in done.stderr


def test_without_a_job_a_trivial_task_is_run(remote: Corral) -> None:
    done = remote("test", "-w", "h[1-2]")
    assert "h[1-2]: done in" in done.stdout
    assert "each host runs: echo corral works" in done.stderr


def test_a_run_file_is_tried_by_its_first_task(remote: Corral) -> None:
    remote.write("job.toml", 'run = "echo {x}"\nretries = 5\n[sweep]\nx = "7,8,9"\n')
    assert "each host runs: echo 7" in remote("test", "-w", "h[1-2]", "job.toml").stderr


def test_a_host_without_the_program_is_named_with_the_way_out(remote: Corral, farm: Bed) -> None:
    for name in ("h1", "h3"):
        farm[name].write("/dev/shm/sim", "#!/bin/sh\necho $1\n", 0o755)
    try:
        done = remote("test", "-w", "h[1-3]", "/dev/shm/sim {1..5}", code=1)
    finally:
        for name in ("h1", "h3"):
            farm[name].sh("rm /dev/shm/sim")
    assert "h[1,3]: done in" in done.stdout
    assert "h2: cannot start /dev/shm/sim: No such file or directory" in done.stdout
    assert "  try: ssh h2 'echo $PATH'" in done.stdout


def test_a_host_with_other_output_is_named_with_its_first_line(remote: Corral) -> None:
    command = "echo one; test $(hostname) = h2 && echo 2 || echo two; echo {n=3..9}"
    done = remote("test", "-w", "h[1-3]", command, code=1)
    assert "h[1,3]: done in" in done.stdout
    assert "h2: other output: stdout, line 2: '2', where h[1,3] says 'two'" in done.stdout
    found = remote("test", "-w", "h[1-3]", "--json", command, code=1).stdout
    assert '"line": 2' in found
    assert '"here": "2"' in found


def test_a_host_that_names_itself_is_quoted_as_it_is(remote: Corral) -> None:
    # Hosts with the same fault share a line, and their names in what they printed were folded, too.
    done = remote("test", "-w", "h[1-3]", "hostname; echo {n=3..9}", code=1)
    assert "h2: other output: stdout, line 1: 'h2', where h1 says 'h1'" in done.stdout
    assert "h3: other output: stdout, line 1: 'h3', where h1 says 'h1'" in done.stdout


def test_a_declared_file_that_differs_is_named(remote: Corral) -> None:
    command = "test $(hostname) = h1 && echo {n=1..2} > {>o} || echo x > o"
    done = remote("test", "-w", "h[1-3]", command, code=1)
    assert "h1: other output: o, line 1: '1', where h[2-3] says 'x'" in done.stdout


def test_a_task_that_fails_shows_its_last_words(remote: Corral) -> None:
    command = "test $(hostname) != h1 || { echo no licence >&2; exit 3; }; echo {n=1..2}"
    done = remote("test", "-w", "h[1-3]", "--retries", "4", command, code=1)
    assert "h1: exit 3\n  no licence\n  try: corral run -w h1" in done.stdout


def test_hosts_that_cannot_be_reached_are_named_and_the_others_tried(remote: Corral) -> None:
    done = remote("test", "-w", "h1,nosuch[1-2]", code=1)
    assert "nosuch[1-2]: Could not resolve" in done.stdout
    assert "h1: done in" in done.stdout
    assert "none of 2 hosts" in remote("test", "-w", "nosuch[1-2]", code=3).stderr
