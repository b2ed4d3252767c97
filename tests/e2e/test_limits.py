"""Limits by the real command line: what is said, what is killed, the exit code, and how to go on."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared


def test_a_run_that_takes_too_long_is_halted_and_can_be_resumed(corral: Corral) -> None:
    go = corral.folder / "go"
    command = f"test -e {go} || sleep 60; echo {{1..4}}"
    limit = "4s"  # the same for what goes on later, on a machine that is busy then
    done = corral("run", "-j2", "--run-timeout", limit, command, code=5)
    assert "halted: it has taken 4.0 s (--run-timeout)" in done.stderr
    assert "go on: corral resume test" in done.stderr
    assert not corral.processes(tasks_only=True)
    assert corral.json("status")["run"]["counts"]["waiting"] == 4
    assert "halted by itself" in corral("why").stdout
    go.touch()
    corral("resume")
    assert corral.output("test") == "1\n2\n3\n4\n"


def test_too_many_failures_halt_the_run_and_kill_what_runs(corral: Corral) -> None:
    command = "if test {n=1..9} = 1; then sleep 60; else exit 3; fi"
    done = corral("run", "-j2", "--halt", "now,fail=3", command, code=5)
    assert "halted: 3 of 3 tasks failed (--halt now,fail=3)" in done.stderr
    assert "go on: corral resume" in done.stderr
    counts = corral.json("status")["run"]["counts"]
    assert counts["failed"] == 3
    assert counts["waiting"] == 6
    assert not corral.processes(tasks_only=True)


def test_limits_of_a_run_file_stand_in_the_file_that_repeats_it(corral: Corral) -> None:
    text = 'halt = "soon,fail=1"\nmem = ["1G", "4G"]\noutput_cap = "5M"\nrun_timeout = "2h"\n'
    corral.write("job.toml", f'run = "exit {{1..5}}"\n{text}')
    corral("run", "-j1", "job.toml", code=5)
    written = (corral.results("job") / "run.toml").read_text()
    for line in text.splitlines():
        assert line in written


def test_a_task_that_writes_too_much_is_done_and_its_ends_are_kept(corral: Corral) -> None:
    corral("run", "-q", "--output-cap", "1K", "seq {1000..1001}")
    text = corral.output("seq")
    assert text.startswith("1\n2\n")
    assert text.endswith("\n1000\n1001\n")
    assert text.count("bytes left out here]\n") == 2
    assert len(text) < 2500
    assert "of 3893 bytes left out" in corral("show", "1").stdout


def test_a_host_without_room_is_named_and_starts_nothing(corral: Corral) -> None:
    process = corral.start("run", "--disk-floor", "900T", "echo {1..3}")
    wait_until((corral.folder / ".corral" / "corral.db").exists, what="it is submitted")
    wait_until(lambda: corral.json("ls")["runs"], what="it is submitted")
    wait_until(lambda: note_of_the_host(corral), what="the host is named")
    note = note_of_the_host(corral)
    assert "below the disk floor of 943718400 MiB" in note
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 75
    assert note in err
    assert corral.json("status")["run"]["counts"]["waiting"] == 3
    attempts = corral.json("attempts")["attempts"]
    assert {attempt["outcome"] for attempt in attempts} == {"returned"}


def note_of_the_host(corral: Corral) -> str:
    """Give what is said of the only host; "" before its master has written it down."""
    notes: list[str] = [host["note"] for host in corral.json("status")["hosts"]]
    return "".join(notes)


def test_a_task_far_above_the_median_is_ended(corral: Corral) -> None:
    command = "if test {n=1..6} = 1; then sleep 60; fi; echo {n}"
    done = corral("run", "-j2", "--timeout", "200%", command, code=1)
    assert "not done after 1 s" in done.stderr
    [slow, *others] = corral.json("attempts")["attempts"]
    assert (slow["outcome"], slow["kind"]) == ("failed", "timeout")
    assert {attempt["outcome"] for attempt in others} == {"accepted"}


def test_a_task_that_needs_more_memory_gets_it(corral: Corral) -> None:
    corral.write("take.py", "import sys, time\nx = bytearray(int(sys.argv[1]) << 20)\n"
                 "time.sleep(int(sys.argv[1]) / 100)\nprint(len(x) >> 20)\n")  # fmt: skip
    command = f"{sys.executable} take.py {{1,200}}"
    corral("run", "-q", "--memory", "50M,1G", command)
    name = corral.json("ls")["runs"][0]["name"]
    assert corral.output(name) == "1\n200\n"
    attempts = corral.json("attempts")["attempts"]
    assert [(a["task"], a["kind"]) for a in attempts] == [(1, None), (2, "oom"), (2, None)]
    [host] = corral.json("hosts")["hosts"]
    assert host["memory_by"] in ("cgroup v1", "cgroup v2", "polled every 500 ms")
    assert f"{host['memory_by']} there." in corral("why", "localhost").stdout
