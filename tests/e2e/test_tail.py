"""``corral logs -f``: what comes while a task runs is what `corral logs` prints afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.tail import Tail
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared

LOUD = "echo first {n}; echo oh {n} >&2; printf half; until test -e {n}.go; do sleep 0.02; done; echo er"


@pytest.fixture
def tails(corral: Corral) -> Iterator[list[Tail]]:
    """Followers, ended with the test."""
    begun: list[Tail] = []
    yield begun
    for tail in begun:
        tail.close()


def follow(corral: Corral, tails: list[Tail], *words: str) -> Tail:
    tails.append(Tail(corral, "logs", "-f", *words))
    return tails[-1]


def begin(corral: Corral, command: str, *flags: str) -> None:
    """Start a run that goes on in the background, and see its first task handed out."""
    corral("run", "-q", "-d", "--here", "-j1", *flags, command)
    wait_until(
        lambda: '"waiting"' not in corral("tasks", "1", "--json").stdout,
        seconds=30,
        what="its first task is under way",
    )


def go(corral: Corral, *tasks: int) -> None:
    for task in tasks:
        corral.write(f"{task}.go", "")


def test_lines_and_half_lines_come_while_the_task_runs(corral: Corral, tails: list[Tail]) -> None:
    begin(corral, LOUD.replace("{n}", "{n=1}"))
    tail = follow(corral, tails, "1")
    wait_until(lambda: tail.out() == "first 1\nhalf", what="it is followed")
    wait_until(lambda: "oh 1\n" in tail.err(), what="stderr, too")
    assert tail.code() is None
    go(corral, 1)
    assert tail.wait() == 0
    after = corral("logs", "1")
    assert (tail.out(), tail.err()) == (after.stdout, after.stderr)
    assert after.stdout == "first 1\nhalfer\n"


def test_a_task_that_has_not_begun_is_waited_for(corral: Corral, tails: list[Tail]) -> None:
    begin(corral, LOUD.replace("{n}", "{n=1,2}", 1))
    tail = follow(corral, tails, "2", "--stdout")
    wait_until(lambda: "task 2: has not begun" in tail.err())
    assert tail.out() == ""
    go(corral, 1)
    wait_until(lambda: tail.out() == "first 2\nhalf")
    go(corral, 2)
    assert tail.wait() == 0
    assert tail.out() == corral("logs", "2", "--stdout").stdout == "first 2\nhalfer\n"
    assert tail.err() == "task 2: has not begun\n"


def test_stderr_alone_goes_to_stdout(corral: Corral, tails: list[Tail]) -> None:
    begin(corral, LOUD.replace("{n}", "{n=1}"))
    tail = follow(corral, tails, "1", "--stderr")
    wait_until(lambda: tail.out() == "oh 1\n")
    go(corral, 1)
    assert tail.wait() == 0
    assert (tail.out(), tail.err()) == ("oh 1\n", "")


def test_a_retry_that_writes_the_same_goes_on_where_the_first_broke_off(
    corral: Corral, tails: list[Tail]
) -> None:
    again = "echo a {n=1}; test -e 1.go && echo b || { until test -e 1.go; do sleep 0.02; done; exit 3; }"
    begin(corral, again, "--retries", "1")
    tail = follow(corral, tails, "1")
    wait_until(lambda: tail.out() == "a 1\n")
    go(corral, 1)
    assert tail.wait() == 0
    assert tail.out() == corral("logs", "1").stdout == "a 1\nb\n"
    assert "task 1: attempt 2 on localhost (the one before failed)\n" in tail.err()


def test_a_retry_that_writes_something_else_begins_anew_and_says_so(
    corral: Corral, tails: list[Tail]
) -> None:
    command = (
        "echo a; echo $CORRAL_ATTEMPT; : {n=1};"
        " until test -e $CORRAL_ATTEMPT.go; do sleep 0.02; done; test $CORRAL_ATTEMPT = 2"
    )
    begin(corral, command, "--retries", "1")
    tail = follow(corral, tails, "1")
    wait_until(lambda: tail.out() == "a\n1\n")
    go(corral, 1)
    wait_until(lambda: tail.out() == "a\n1\na\n2\n")
    go(corral, 2)
    assert tail.wait() == 0
    assert tail.out() == "a\n1\n" + corral("logs", "1").stdout
    attempt, differs = tail.err().splitlines()[-2:]
    assert attempt == "task 1: attempt 2 on localhost (the one before failed)"
    assert differs == (
        "task 1: attempt 2 wrote something else than what stands above; from its beginning:"
    )


def test_a_task_that_fails_ends_it_and_is_named(corral: Corral, tails: list[Tail]) -> None:
    begin(corral, "echo a {n=1}; until test -e 1.go; do sleep 0.02; done; exit 3", "--retries", "0")
    tail = follow(corral, tails, "1")
    wait_until(lambda: tail.out() == "a 1\n")
    go(corral, 1)
    assert tail.wait() == 1
    assert tail.out() == "a 1\n"
    assert "task 1 is failed: exit 3" in tail.err()


def test_a_task_that_is_cancelled_ends_it_with_1(corral: Corral, tails: list[Tail]) -> None:
    begin(corral, LOUD.replace("{n}", "{n=1}"))
    tail = follow(corral, tails, "1")
    wait_until(lambda: tail.out() == "first 1\nhalf")
    corral("cancel", "--yes")
    assert tail.wait() == 1
    assert "task 1 is cancelled" in tail.err()


def test_a_task_that_has_ended_already_gives_the_same_exit_codes(corral: Corral) -> None:
    corral("run", "-q", "--retries", "0", "--exit-code", "77=skip", "exit {0,3,77}", code=1)
    corral("logs", "-f", "1")
    assert "task 2 is failed: exit 3" in corral("logs", "-f", "2", code=1).stderr
    assert "task 3 is skipped" in corral("logs", "-f", "3").stderr


def test_attempts_that_fail_are_printed_to_their_end_before_the_next_and_none_is_left_out(
    corral: Corral, tails: list[Tail]
) -> None:
    words = (
        "echo $CORRAL_ATTEMPT {n=1}; test $CORRAL_ATTEMPT != 1 || until test -e 1.go; do sleep 0.02; done;"
        " seq 1 100000; echo end of $CORRAL_ATTEMPT; exit 3"
    )
    begin(corral, words, "--retries", "3")
    tail = follow(corral, tails, "1", "--stdout")
    wait_until(lambda: tail.out() == "1 1\n")
    go(corral, 1)
    assert tail.wait() == 1
    lines = "".join(f"{n}\n" for n in range(1, 100001))
    assert tail.out() == "".join(f"{n} 1\n{lines}end of {n}\n" for n in (1, 2, 3, 4))
    begun = [line for line in tail.err().splitlines() if "(the one before failed)" in line]
    assert begun == [f"task 1: attempt {n} on localhost (the one before failed)" for n in (2, 3, 4)]


def test_the_last_words_of_an_attempt_come_before_word_of_the_next(
    corral: Corral, tails: list[Tail]
) -> None:
    words = (
        "echo begin {n=1} >&2; test $CORRAL_ATTEMPT = 2 || until test -e 1.go; do sleep 0.02; done;"
        " seq 1 100000 >&2; echo end of $CORRAL_ATTEMPT >&2; test $CORRAL_ATTEMPT = 2"
    )
    begin(corral, words, "--retries", "1")
    tail = follow(corral, tails, "1")
    wait_until(lambda: tail.err() == "begin 1\n")
    go(corral, 1)
    assert tail.wait() == 0
    word = "task 1: attempt 2 on localhost (the one before failed)\n"
    first, second = tail.err().split(word)
    assert first == "begin 1\n" + "".join(f"{n}\n" for n in range(1, 100001)) + "end of 1\n"
    assert second.endswith(corral("logs", "1").stderr)


def test_what_is_long_or_quick_comes_whole_too(corral: Corral, tails: list[Tail]) -> None:
    begin(corral, "until test -e {n=1}.go; do sleep 0.02; done; seq 1 400000; seq 1 9 >&2")
    tail = follow(corral, tails, "1")
    go(corral, 1)
    assert tail.wait() == 0
    assert tail.out() == corral("logs", "1", "--stdout").stdout
    assert tail.err() == corral("logs", "1", "--stderr").stdout


def test_what_was_cut_is_followed_up_to_there_and_ends_as_it_is_kept(
    corral: Corral, tails: list[Tail]
) -> None:
    wordy = "seq 1 2000; until test -e {n=1}.go; do sleep 0.02; done; seq 1 2000"
    begin(corral, wordy, "--output-cap", "4K")
    tail = follow(corral, tails, "1")
    wait_until(lambda: len(tail.out()) == 2048)
    go(corral, 1)
    assert tail.wait() == 0
    assert tail.out() == corral("logs", "1").stdout
    assert "bytes left out here" in tail.out()


def test_two_follow_one_task_and_the_second_gets_the_beginning(
    corral: Corral, tails: list[Tail]
) -> None:
    begin(corral, LOUD.replace("{n}", "{n=1}"))
    first = follow(corral, tails, "1")
    wait_until(lambda: first.out() == "first 1\nhalf")
    second = follow(corral, tails, "1")
    wait_until(lambda: second.out() == "first 1\nhalf")
    go(corral, 1)
    assert (first.wait(), second.wait()) == (0, 0)
    assert first.out() == second.out() == "first 1\nhalfer\n"


def test_what_has_ended_is_printed_and_that_is_all(corral: Corral) -> None:
    corral("run", "-q", "echo {n=1,2}; echo oh >&2")
    done = corral("logs", "-f", "2")
    assert (done.stdout, done.stderr) == ("2\n", "oh\n")


def test_without_a_master_what_is_stored_is_printed_and_said(corral: Corral) -> None:
    corral(
        "run", "-q", "--retries", "0", "--halt", "now,fail=1", "-j1", "echo {n=1,2}; exit 3", code=5
    )
    done = corral("logs", "-f", "2", code=4)
    assert done.stdout == ""
    assert "no master is there: task 2 is waiting" in done.stderr
    assert "corral resume echo goes on" in done.stderr


def test_a_master_that_is_killed_does_not_end_it_if_another_goes_on(
    corral: Corral, tails: list[Tail]
) -> None:
    begin(corral, LOUD.replace("{n}", "{n=1}"))
    tail = follow(corral, tails, "1")
    wait_until(lambda: tail.out() == "first 1\nhalf")
    os.kill(corral.master(), signal.SIGKILL)
    other = corral.start("resume", "-q")
    wait_until(lambda: corral.master(), what="another master")
    go(corral, 1)
    assert tail.wait() == 0
    assert tail.out() == "first 1\nhalfer\n"
    assert other.wait(20) == 0


def test_ctrl_c_ends_it_and_leaves_the_task_alone(corral: Corral, tails: list[Tail]) -> None:
    begin(corral, LOUD.replace("{n}", "{n=1}"))
    tail = follow(corral, tails, "1")
    wait_until(lambda: tail.out() == "first 1\nhalf")
    tail.process.send_signal(signal.SIGINT)
    assert tail.wait() == 130
    assert "Traceback" not in tail.err()
    go(corral, 1)
    corral("attach", "-q")
    assert corral("logs", "1", "--stdout").stdout == "first 1\nhalfer\n"


def test_a_reader_that_goes_away_ends_it(corral: Corral) -> None:
    begin(corral, "yes {n=1} | head -c 300000; until test -e 1.go; do sleep 0.02; done")
    words = " ".join(corral._words(("logs", "-f", "1")))
    began = time.monotonic()
    done = subprocess.run(
        f"{words} | head -n 1",
        shell=True,
        cwd=corral.folder,
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == b"1\n"
    assert b"Traceback" not in done.stderr
    assert time.monotonic() - began < 20
    go(corral, 1)


@pytest.mark.parametrize(
    "words",
    [("--json", "1"), ("--of", "x", "1"), ("--attempt", "1", "1"), ("all",)],
    ids=["json", "of", "attempt", "several"],
)
def test_what_cannot_be_followed_is_said(corral: Corral, words: tuple[str, ...]) -> None:
    corral("run", "-q", "echo {n=1,2}")
    assert "-f " in corral("logs", "-f", *words, code=2).stderr
