"""What tasks need of their host, through the real command line: on the cores of this machine."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared
CORES = len(os.sched_getaffinity(0))
PLATFORM = f"{sys.platform}-{os.uname().machine}"
HOSTS = '[hosts.localhost]\nslots = 4\ntags = ["fast"]\nresources = { gpu = 2 }\n'


@pytest.fixture
def here(corral: Corral) -> Corral:
    """This machine with four slots and two gpus."""
    corral.write("hosts.toml", HOSTS)
    return corral


def most_at_once(corral: Corral, name: str) -> int:
    """Count the attempts of a run that ran at the same time, from its table."""
    rows = corral.rows(name, "attempts.csv")
    spans = [(float(row["start"]), float(row["start"]) + float(row["seconds"])) for row in rows]
    return max(sum(a <= begin < b for a, b in spans) for begin, _ in spans)


def test_what_this_machine_has_not_is_said_before_anything_starts(corral: Corral) -> None:
    done = corral("run", "--needs", "cpus=4096", "echo {1..3}", code=2)
    assert done.stderr == (
        f"corral: no host has 4096 cpus; the largest is localhost with {CORES}\n"
        "  try: ask for less, or name hosts that have it: -w\n"
    )
    assert "no host has 1 gpu" in corral("run", "--needs", "gpu=1", "true", code=2).stderr
    assert "no host is plan9-mips" in corral("run", "--needs", "platform=plan9-mips", "true", code=2).stderr  # fmt: skip
    assert not (corral.folder / ".corral").exists()


def test_a_task_has_what_it_needs_and_no_other_has_it_meanwhile(here: Corral) -> None:
    command = "echo {n=1..6} {cpus} $CORRAL_CPUS $OMP_NUM_THREADS gpu $CORRAL_GPU; sleep 0.2"
    here("run", "--needs", "cpus=2,gpu=1", command)
    lines = [line.partition(" gpu ") for line in here.output("echo").splitlines()]
    assert [line[0] for line in lines] == [f"{n} 2 2 2" for n in range(1, 7)]
    assert {line[2] for line in lines} == {"0", "1"}
    assert len({row["slot"] for row in here.rows("echo", "attempts.csv")}) == 2


def test_both_gpus_are_named(here: Corral) -> None:
    assert here("run", "-q", "--needs", "gpu=2", "echo $CORRAL_GPU").stdout == "0,1\n"


def test_what_a_host_has_much_of_has_no_numbers(corral: Corral) -> None:
    # A hundred thousand numbers in a variable were too long for any program to start.
    corral.write("hosts.toml", "[hosts.localhost]\nresources = { disk_mb = 500_000 }\n")
    done = corral("run", "-q", "--needs", "disk_mb=100000", "echo ${CORRAL_DISK_MB-none}")
    assert done.stdout == "none\n"


def test_two_runs_share_what_there_is(here: Corral) -> None:
    go = here.folder / "go"
    wait = f"while ! test -e {go}; do sleep 0.02; done"
    large = here.start("run", "--needs", "gpu=2", f"{wait}; echo {{1..2}}")
    wait_until(lambda: _running(here, "while") == 1, seconds=30, what="the large one runs")
    small = here.start("run", "--needs", "gpu=1", "--name", "small", f"{wait}; echo small {{1..4}}")
    wait_until(lambda: _waits(here), seconds=30, what="the small ones wait")
    why = here("why", "small", "4").stdout
    assert "Each of its tasks needs gpu=1." in why
    assert "localhost has no gpu of 2 gpu free." in why
    assert "needs" in here("status", "small").stdout
    go.touch()
    for process in (large, small):
        _, err = process.communicate(timeout=40)
        assert process.returncode == 0, err
    assert here.output("small") == "".join(f"small {n}\n" for n in range(1, 5))


def test_a_task_that_is_given_out_and_waits_for_another_says_so(here: Corral) -> None:
    go = here.folder / "go"
    large = here.start("run", "--needs", "gpu=2", f"while ! test -e {go}; do sleep 0.1; done")
    wait_until(lambda: _running(here, "while") == 1, what="the large one runs")
    small = here.start("run", "--needs", "gpu=1", "--name", "small", "echo small")
    waits = "task 1 of small has not started: it waits on localhost"
    wait_until(lambda: waits in here("why", "small", "1", code=None).stdout, what="it says so")
    assert "localhost has no gpu of 2 gpu free." in here("why", "small", "1").stdout
    go.touch()
    for process in (large, small):
        _, err = process.communicate(timeout=40)
        assert process.returncode == 0, err


def _running(corral: Corral, name: str) -> int:
    done = corral("attempts", name, "--json", code=None)
    return done.stdout.count('"running"')


def _waits(corral: Corral) -> bool:
    return "waits" in corral("why", "small", "4", code=None).stdout


def test_needs_of_a_run_file_stand_in_the_file_that_repeats_it(here: Corral) -> None:
    text = '[needs]\ncpus = 2\nmemory = "64M"\ntags = ["fast"]\ngpu = 1\n'
    here.write("job.toml", f'run = "echo {{1..3}}"\n\n{text}')
    assert "needs: cpus=2, memory=64 MB, tags=fast, gpu=1" in here("check").stderr
    here("run", "job.toml")
    assert text in here("init", "--from-run", "job", "-").stdout
    assert "cpus=2, memory=64 MB, tags=fast, gpu=1" in here("show", "job", "1").stdout


def test_needs_of_a_run_file_that_cannot_be_meant(corral: Corral) -> None:
    corral.write("job.toml", 'run = "true"\n[needs]\ncpu = 2\nmemory = "4Q"\ngpu = "x"\n')
    said = corral("check", code=2).stderr
    assert "job.toml:3:1: unknown need `cpu`\n  cpu = 2\n  ^^^ did you mean `cpus`?" in said
    assert 'job.toml:4:1: `memory` must be a size from 1M, such as "4G"' in said
    assert "job.toml:5:1: `gpu` must be a whole number from 1" in said


def test_other_needs_are_another_run(here: Corral) -> None:
    here("run", "--needs", "cpus=2", "echo {1..3}")
    assert "3 kept" in here("run", "--needs", "cpus=2", "echo {1..3}").stderr
    here("run", "--needs", "cpus=3", "echo {1..3}")
    assert [run["name"] for run in here.json("ls")["runs"]] == ["echo", "echo-2"]


def test_a_platform_gets_its_own_program(corral: Corral) -> None:
    corral.write("sim", "#!/bin/sh\necho common $1\n", executable=True)
    corral.write("build/here/sim", "#!/bin/sh\necho special $1\n", executable=True)
    job = f'run = "./sim {{1..2}}"\n[platform."{PLATFORM}"]\npush = {{ sim = "build/here/sim" }}\n'
    corral.write("job.toml", job)
    said = corral("run", "job.toml").stderr
    assert f"build/here/sim to {PLATFORM}" in said
    assert corral.output("job") == "special 1\nspecial 2\n"
    repeats = corral("init", "--from-run", "job", "-").stdout
    assert f'[platform.{PLATFORM}]\npush = {{ sim = "build/here/sim" }}\n' in repeats
    corral.write("build/here/sim", "#!/bin/sh\necho changed $1\n", executable=True)
    assert f"sim for {PLATFORM} changed: all start afresh" in corral("run", "job.toml").stderr
    assert corral.output("job") == "changed 1\nchanged 2\n"


def test_files_for_another_platform_alone_are_no_program_for_this_one(corral: Corral) -> None:
    corral.write("arm/sim", "#!/bin/sh\necho arm\n", executable=True)
    job = 'run = "./sim {1..2}"\n[platform."plan9-arm"]\npush = { sim = "arm/sim" }\n'
    corral.write("job.toml", job)
    said = corral("run", "job.toml", code=2).stderr
    assert said.startswith(f"corral: there is no program for {PLATFORM}, only for plan9-arm\n")
    assert f'  try: write [platform."{PLATFORM}"] with a push of its own, or name other' in said
    corral.write("sim", "#!/bin/sh\necho common $1\n", executable=True)
    corral("run", "job.toml")
    assert corral.output("job") == "common 1\ncommon 2\n"


@pytest.mark.parametrize(
    "places", [("d/",), (".",), ("a//b",), ("a/./b",), ("a", "a/b"), ("a\\u0000b",), ("/a",)]
)
def test_places_where_no_file_can_stand(corral: Corral, places: tuple[str, ...]) -> None:
    corral.write("sim", "#!/bin/sh\n", executable=True)
    push = ", ".join(f'"{place}" = "sim"' for place in places)
    corral.write("job.toml", f'run = "true"\n[platform.linux-arm]\npush = {{ {push} }}\n')
    said = corral("check", code=2).stderr
    assert "job.toml:3:1: `push` must be a list of files, or a table by relative path" in said


def test_platforms_that_cannot_be_meant(corral: Corral) -> None:
    corral.write(
        "job.toml",
        'run = "true"\n[platform.ARM]\npush = ["a"]\n[platform.linux-arm]\npsh = ["a"]\n'
        '[platform.linux-mips]\npush = { "../x" = "a" }\n',
    )
    said = corral("check", code=2).stderr
    assert "job.toml:2:11: 'ARM' is no platform" in said
    assert 'job.toml:5:1: unknown key `psh`\n  psh = ["a"]\n  ^^^ did you mean `push`?' in said
    assert "job.toml:7:1: `push` must be a list of files, or a table" in said
    corral.write("job.toml", 'run = "true"\n[platform.linux-arm]\npush = { sim = "nosuch" }\n')
    for said in (corral("check", code=2).stderr, corral("run", "job.toml", code=2).stderr):
        assert "job.toml:3:1: push nosuch: there is no such file here\n" in said
        assert '  push = { sim = "nosuch" }\n  ^^^^ check the name' in said
