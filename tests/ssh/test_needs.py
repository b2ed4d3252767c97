"""What tasks need of their host, on real ones that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.corral import Corral
    from tests.support.hosts import Bed

pytestmark = [
    pytest.mark.system("sshd"),
    pytest.mark.system("root"),
    pytest.mark.timeout(60),  # several commands with logins each, on a machine that is shared
]

OTHER = "/var/tmp/python32"  # a Python that believes it is on another machine
HOSTS = f"""\
[hosts."h[1-3]"]
slots = 4
[hosts."h[1-2]"]
tags = ["fast"]
[hosts.h2]
resources = {{ gpu = 2 }}
[hosts.h3]
slots = 1
python = "{OTHER}"
"""


@pytest.fixture
def on_farm(corral: Corral, farm: Bed) -> Iterator[Corral]:
    """The command line with h1, h2 and h3, which have different things; h3 is of another platform."""
    corral.environment["CORRAL_SSH"] = farm.ssh
    corral.write("hosts.toml", HOSTS)
    farm["h3"].write(OTHER, '#!/bin/sh\nexec setarch i686 python3 "$@"\n', 0o755)
    yield corral
    farm["h3"].sh(f"rm {OTHER}")


def hosts_of(corral: Corral, name: str) -> set[str]:
    return {row["host"] for row in corral.rows(name)}


def test_tasks_go_where_there_is_what_they_need(on_farm: Corral) -> None:
    done = on_farm("run", "--needs", "tags=fast,cpus=2", "sleep 0.1; echo {1..16}")
    assert "not on h3: it has no tag fast" in done.stderr
    assert hosts_of(on_farm, "sleep") == {"h1", "h2"}
    done = on_farm("run", "--needs", "gpu=1", "--name", "gpu", "sleep 0.1; echo {1..6} $CORRAL_GPU")
    assert "not on h[1,3]: it has no gpu, 1 is needed" in done.stderr
    assert hosts_of(on_farm, "gpu") == {"h2"}
    assert {line.split()[1] for line in on_farm.output("gpu").splitlines()} == {"0", "1"}


def test_what_only_an_agent_can_see_is_said_when_it_has_looked(on_farm: Corral) -> None:
    [looked] = on_farm.json("hosts", "check", "-w", "h1")["hosts"]
    platform = looked["facts"]["platform"]
    done = on_farm("run", "--needs", f"platform={platform}", "sleep 0.1; echo {1..16}")
    assert "h3: it is linux-i686, linux-" in done.stderr
    assert hosts_of(on_farm, "sleep") == {"h1", "h2"}
    assert "h3: gone" in on_farm("status").stdout
    assert "no task of this run goes there" in done.stderr


def test_each_platform_gets_its_program(on_farm: Corral) -> None:
    [looked] = on_farm.json("hosts", "check", "-w", "h1")["hosts"]
    platform = looked["facts"]["platform"]
    for name in ("one", "other"):
        text = f"#!/bin/sh\nsleep 0.1\necho {name} $(uname -m)\n"
        on_farm.write(f"{name}/sim", text, executable=True)
    one = f'[platform."{platform}"]\npush = {{ sim = "one/sim" }}\n'
    on_farm.write("one.toml", f'run = "./sim {{1..16}}"\n{one}')
    said = on_farm("run", "one.toml").stderr
    assert "h3: it is linux-i686, and no program is given for that" in said
    assert hosts_of(on_farm, "one") == {"h1", "h2"}
    other = '[platform."linux-i686"]\npush = { sim = "other/sim" }\n'
    on_farm.write("one.toml", f'run = "./sim {{1..16}}"\n{one}{other}')
    on_farm("run", "one.toml")
    machine = platform.partition("-")[2]
    said_by = {row["host"]: set[str]() for row in on_farm.rows("one")}
    for row, line in zip(on_farm.rows("one"), on_farm.output("one").splitlines(), strict=True):
        said_by[row["host"]].add(line)
    assert said_by["h3"] == {"other i686"}
    assert said_by["h1"] == said_by["h2"] == {f"one {machine}"}


def test_a_demand_that_no_host_meets_ends_the_command(on_farm: Corral) -> None:
    said = on_farm("run", "--needs", "tags=big", "echo {1..3}", code=2).stderr
    assert said.startswith("corral: no host has the tag big\n")
    done = on_farm("run", "--needs", "memory=1000T", "echo {1..3}", code=3)
    assert "corral: no host has 1000 TB of memory; the largest is h" in done.stderr
    assert "try: ask for less, or name hosts that have it: -w" in done.stderr
    assert "1000 TB are needed: no task of this run goes there" in done.stderr
    why = on_farm("why", "echo", "1").stdout
    assert "Each of its tasks needs memory=1000 TB." in why
    assert "h[1-3] never gets one: it has " in why
