"""How a command can end, and how a run goes on after it: signals, kill -9, detaching, takeover."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.hosts import processes
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared


def marks(corral: Corral) -> list[str]:
    """List the starts that tasks themselves wrote down: the truth about what ran."""
    path = corral.folder / "marks"
    return path.read_text().split() if path.exists() else []


def marked(corral: Corral, rest: str, values: str) -> str:
    """Make a command whose every task writes its number into `marks` when it starts."""
    return f"echo {{n={values}}} >> {corral.folder}/marks; {rest}; echo done {{n}}"


def release(corral: Corral) -> str:
    """Make a command that waits until the test lets it go on."""
    return f"while ! test -e {corral.folder}/go; do sleep 0.05; done"


def let_go(corral: Corral) -> None:
    (corral.folder / "go").touch()


def test_the_first_interrupt_drains_and_resume_goes_on(corral: Corral) -> None:
    process = corral.start("run", "-j2", marked(corral, release(corral), "1..5"))
    wait_until(lambda: len(marks(corral)) == 2, what="two tasks run")
    process.send_signal(signal.SIGINT)
    wait_until(lambda: corral.json("status")["run"]["state"] == "halted", what="halted")
    let_go(corral)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 75, (out, err)
    assert "corral resume echo" in err
    assert corral.json("status")["run"]["counts"]["done"] == 2
    corral("resume")
    assert corral.output("echo") == "".join(f"done {n}\n" for n in range(1, 6))
    assert sorted(marks(corral)) == ["1", "2", "3", "4", "5"]


def test_an_interrupt_while_tasks_are_written_down_is_answered_at_once(corral: Corral) -> None:
    """Bug: of a million tasks nothing was heard of Ctrl-C for half a minute."""
    process = corral.start("run", "echo {1..200000}")
    wait_until(lambda: corral("ls", code=None).stdout.count("preparing") == 1, seconds=30)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=50)
    assert process.returncode == 75, err
    assert "the tasks are being written down; it stops when they are\nno new tasks;" in err


def test_the_second_interrupt_kills_what_runs(corral: Corral) -> None:
    process = corral.start("run", "-j2", marked(corral, "sleep 60", "1..4"))
    wait_until(lambda: len(marks(corral)) == 2, what="two tasks run")
    process.send_signal(signal.SIGINT)
    wait_until(lambda: corral.json("status")["run"]["state"] == "halted", what="halted")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert not corral.processes(tasks_only=True)
    assert corral.json("status")["run"]["counts"]["waiting"] == 4


def test_an_interrupt_before_there_is_a_database_ends_without_a_word(corral: Corral) -> None:
    """Bug: with exit code 2, and the word that there is no run here yet."""
    corral.write("uvicorn.py", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = corral("run", "-q", "true {1..3}", code=130)
    assert (done.stdout, done.stderr) == ("", "")
    (corral.folder / "uvicorn.py").unlink()
    corral("run", "-q", "true {1..3}")


def test_sigterm_kills_what_runs(corral: Corral) -> None:
    process = corral.start("run", marked(corral, "sleep 60", "1..2"))
    wait_until(lambda: len(marks(corral)) == 2, what="two tasks run")
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert not corral.processes(tasks_only=True)


def test_after_kill_9_resume_adopts_what_runs(corral: Corral) -> None:
    process = corral.start("run", "-j2", marked(corral, release(corral), "1..4"))
    wait_until(lambda: len(marks(corral)) == 2, what="two tasks run")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    resumed = corral.start("resume")
    wait_until(lambda: corral.master() == resumed.pid, what="a new master")
    let_go(corral)
    out, err = resumed.communicate(timeout=30)
    assert resumed.returncode == 0, (out, err)
    assert corral.output("echo") == "".join(f"done {n}\n" for n in range(1, 5))
    assert sorted(marks(corral)) == ["1", "2", "3", "4"]
    assert [a["reason"] for a in corral.json("attempts")["attempts"]] == ["first"] * 4


def test_after_kill_9_the_same_command_goes_on_and_runs_nothing_twice(corral: Corral) -> None:
    command = marked(corral, "sleep 0.2", "1..8")
    process = corral.start("run", "-j2", command)
    wait_until(lambda: len(marks(corral)) >= 3, what="some tasks have run")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    corral("run", "-j2", command)
    assert sorted(marks(corral), key=int) == [str(n) for n in range(1, 9)]
    assert corral.output("echo") == "".join(f"done {n}\n" for n in range(1, 9))


def test_results_finished_while_no_master_lived_count(corral: Corral) -> None:
    process = corral.start("run", "-j2", marked(corral, release(corral), "1..2"))
    wait_until(lambda: len(marks(corral)) == 2, what="two tasks run")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    let_go(corral)
    wait_until(lambda: not corral.processes(tasks_only=True), what="the tasks have ended")
    corral("resume")
    assert corral.output("echo") == "done 1\ndone 2\n"
    assert sorted(marks(corral)) == ["1", "2"]


def test_results_of_a_dead_agent_are_collected_and_the_rest_runs_again(corral: Corral) -> None:
    process = corral.start("run", "-j2", marked(corral, release(corral), "1..2"))
    wait_until(lambda: len(marks(corral)) == 2, what="two tasks run")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    processes.kill_at_once(corral.processes)
    let_go(corral)
    corral("resume")
    assert corral.output("echo") == "done 1\ndone 2\n"
    reasons = [a["reason"] for a in corral.json("attempts")["attempts"]]
    assert sorted(reasons) == ["first", "first", "lost", "lost"]


def test_a_closed_terminal_is_not_an_end(corral: Corral) -> None:
    process = corral.start("run", "-j2", marked(corral, release(corral), "1..3"))
    wait_until(lambda: len(marks(corral)) == 2, what="two tasks run")
    process.send_signal(signal.SIGHUP)
    let_go(corral)
    process.communicate(timeout=30)
    assert corral.output("echo") == "done 1\ndone 2\ndone 3\n"


def test_a_detached_run_goes_on_by_itself(corral: Corral) -> None:
    done = corral("run", "-d", marked(corral, release(corral), "1..3"))
    assert done.stdout.strip() == "1"
    wait_until(lambda: marks(corral), what="a task runs")
    let_go(corral)
    assert corral("attach", code=0).stdout.strip() == "results/echo"
    assert corral.output("echo") == "done 1\ndone 2\ndone 3\n"
    wait_until(lambda: not corral.master(), seconds=15, what="the master in the background ends")


def test_a_second_command_runs_beside_the_first_and_takes_over(corral: Corral) -> None:
    first = corral.start("run", "--name", "one", "-j2", marked(corral, release(corral), "1..2"))
    wait_until(lambda: len(marks(corral)) == 2, what="the first runs")
    second = corral.start(
        "run", "--name", "two", f"while ! test -e {corral.folder}/on; do sleep 0.05; done; echo two"
    )
    wait_until(lambda: len(corral.json("ls")["runs"]) == 2, what="the second is submitted")
    let_go(corral)
    first.communicate(timeout=30)
    assert first.returncode == 0
    wait_until(lambda: corral.master() == second.pid, what="the second is the master")
    (corral.folder / "on").touch()
    out, err = second.communicate(timeout=30)
    assert (second.returncode, out) == (0, "two\n"), err
    assert len(corral.json("attempts", "two")["attempts"]) == 1


def test_two_commands_at_once_start_no_task_twice(corral: Corral) -> None:
    command = marked(corral, "sleep 0.1", "1..6")
    both = [corral.start("run", "-j2", command) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=40)
        assert process.returncode == 0, err
    assert sorted(marks(corral)) == ["1", "2", "3", "4", "5", "6"]


def test_steering_from_another_shell(corral: Corral) -> None:
    process = corral.start("run", "-j1", marked(corral, release(corral), "1..3"))
    wait_until(lambda: len(marks(corral)) == 1, what="a task runs")
    corral("pause")
    assert corral.json("status")["run"]["state"] == "paused"
    let_go(corral)
    wait_until(lambda: corral.json("status")["run"]["counts"]["done"] == 1, what="it is done")
    assert len(marks(corral)) == 1
    assert "is paused" in corral("why").stdout or "was paused" in corral("why").stdout
    corral("unpause")
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert len(marks(corral)) == 3


def test_cancel_kills_what_runs_and_retry_brings_it_back(corral: Corral) -> None:
    process = corral.start("run", "-j1", marked(corral, release(corral), "1..2"))
    wait_until(lambda: len(marks(corral)) == 1, what="a task runs")
    corral("cancel")
    process.communicate(timeout=30)
    assert process.returncode == 1
    assert not corral.processes(tasks_only=True)
    let_go(corral)
    corral("retry")
    corral("resume")
    assert corral.output("echo") == "done 1\ndone 2\n"


def test_rerun_replaces_a_result_once_it_is_asked_for(corral: Corral) -> None:
    corral.write("value", "old\n")
    corral("run", f"cat {corral.folder}/value; true {{1..2}}")
    corral.write("value", "new\n")
    corral("rerun", "last", "2")
    corral("resume")
    assert corral.output("cat") == "old\nnew\n"


def test_rm_deletes_a_run_and_what_corral_wrote(corral: Corral) -> None:
    corral("run", "echo {1..3} > {>out.txt}")
    corral.write("results/echo/mine.txt", "a user's own")
    corral("rm", "echo", code=2)
    corral("rm", "echo", "--yes")
    assert [p.name for p in corral.results("echo").iterdir()] == ["mine.txt"]
    assert corral.json("ls")["runs"] == []
    assert not [p for p in (corral.folder / ".corral" / "blobs").rglob("*") if p.is_file()]


@pytest.mark.parametrize("killed", ["corral-link", "corral-super"])
def test_either_half_of_the_agent_may_die(corral: Corral, killed: str) -> None:
    process = corral.start("run", "-j2", marked(corral, release(corral), "1..3"))
    wait_until(lambda: len(marks(corral)) == 2, what="two tasks run")
    os.kill(corral.named(killed), signal.SIGKILL)
    let_go(corral)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    assert corral.output("echo") == "done 1\ndone 2\ndone 3\n"
    attempts = corral.json("attempts")["attempts"]
    assert sum(a["outcome"] == "accepted" for a in attempts) == 3
    if killed == "corral-link":
        assert len(attempts) == 3  # the tasks noticed nothing


def test_a_detached_run_beside_another_is_collected_too(corral: Corral) -> None:
    first = corral.start("run", "--name", "one", "-j1", marked(corral, release(corral), "1..2"))
    wait_until(lambda: marks(corral), what="the first runs")
    corral("run", "-d", "--name", "two", "-j2", "echo {a,b}")
    wait_until(lambda: corral.json("status", "two")["run"]["state"] == "done", what="two is done")
    let_go(corral)
    first.communicate(timeout=30)
    assert corral.output("two") == "a\nb\n"
    assert corral.output("one") == "done 1\ndone 2\n"


def test_the_next_master_answers_an_agent_that_repeats_itself_at_once(corral: Corral) -> None:
    both = [
        corral.start("run", "-q", "--name", name, f"echo {name}") for name in ("x1", "x2", "x3")
    ]
    for process in both:
        out, err = process.communicate(timeout=15)  # a lost wake-up took the idle beat of 20 s
        assert process.returncode == 0, (out, err)


@pytest.mark.timeout(60)  # an agent that says nothing is waited for, 15 s
def test_a_frozen_supervisor_without_a_link_is_killed_at_the_end(corral: Corral) -> None:
    check = f"#!/bin/sh\ntouch {corral.folder}/checks\n{release(corral)}\n"
    corral.write("check.sh", check, executable=True)
    process = corral.start("run", "--check", "./check.sh", marked(corral, "true", "1"))
    wait_until(lambda: (corral.folder / "checks").exists(), what="its task has been reported")
    link, supervisor = map(corral.named, ("corral-link", "corral-super"))
    os.kill(supervisor, signal.SIGSTOP)
    os.kill(link, signal.SIGKILL)
    let_go(corral)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, (out, err)
    assert corral.processes() == []
    assert corral.agent_folders() == []


def test_reap_ends_an_agent_and_not_the_master_that_waits_for_it(corral: Corral) -> None:
    process = corral.start("run", "-j2", marked(corral, release(corral), "1..3"))
    wait_until(lambda: len(marks(corral)) == 2, what="two tasks run")
    [found] = corral.json("reap", "--yes")["found"]
    assert (found["agent"]["lives"], found["agent"]["unclean"]) == (True, [])
    let_go(corral)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert corral.json("status")["run"]["counts"]["done"] == 3
