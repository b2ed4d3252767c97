"""What a task says beside its output: exit codes with a meaning, CORRAL_RESULT, CORRAL_PROGRESS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared


def reasons(corral: Corral, task: int) -> list[str]:
    return [one["reason"] for one in corral.json("attempts", "last", str(task))["attempts"]]


def count_in(folder: Path, code: int, times: int) -> str:
    """A line that exits with ``code`` so many times, then with 0; it counts its starts in a file."""
    counter = f"{folder}/count-$CORRAL_TASK"
    return f"echo x >> {counter}; test $(wc -l < {counter}) -gt {times} || exit {code}; echo {{n}}"


def test_again_puts_a_task_back_uncharged(corral: Corral) -> None:
    corral(
        "run", "--retries", "0", "--exit-code", "99=again",
        f": {{n=1..3}}; {count_in(corral.folder, 99, 4)}",
    )  # fmt: skip
    assert corral.output("run") == "1\n2\n3\n"
    assert reasons(corral, 1) == ["first", *["asked"] * 4]
    ends = {row["outcome"] for row in corral.rows("run", "attempts.csv")}
    assert ends == {"returned", "accepted"}
    assert corral.json("show", "1")["detail"]["task"]["charged"] == 0


def test_a_program_that_always_asks_for_another_attempt_fails_in_the_end(corral: Corral) -> None:
    corral("run", "--retries", "3", "--exit-code", "99=again", "exit 99", code=1)
    assert len(reasons(corral, 1)) == 100
    assert "exit 99: again, 100 times" in corral.rows("exit", "failed.csv")[0]["reason"]


def test_skip_is_no_failure_and_stays_skipped(corral: Corral) -> None:
    command = ["--exit-code", "77=skip", "test {n=1..4} != 3 || exit 77; echo {n}"]
    done = corral("run", *command)
    assert "3 done, 1 skipped" in done.stderr
    assert corral.output("test") == "1\n2\n4\n"
    assert [row["state"] for row in corral.rows("test")] == ["done", "done", "skipped", "done"]
    assert "nothing to do" in corral("run", *command).stderr
    assert corral.starts() == 4
    corral("retry", "test", "3")
    corral("resume", "test")
    assert corral.starts() == 5


def test_fatal_is_not_tried_again(corral: Corral) -> None:
    corral("run", "--retries", "5", "--exit-code", "3=fatal", "exit {n=3,4}", code=1)
    assert reasons(corral, 1) == ["first"]
    assert len(reasons(corral, 2)) == 6
    assert corral.rows("exit", "failed.csv")[0]["reason"] == "exit 3: fatal"


def test_no_code_means_anything_by_itself(corral: Corral) -> None:
    done = corral("run", "exit {n=77,99}", code=1)
    assert "0 done, 2 failed" in done.stderr


def test_meanings_stand_in_the_run_file(corral: Corral) -> None:
    corral.write("job.toml", "run = 'exit {n=0,77}'\nexit_codes = {77 = \"skip\"}\n")
    assert "1 done, 1 skipped" in corral("run", "job.toml").stderr


def test_a_result_comes_home_with_the_report(corral: Corral) -> None:
    line = """printf '{"E": %s, "unit": "ünï"}' {n} > "$CORRAL_RESULT"; echo {n=1..2}"""
    corral("run", line)
    assert corral.json("show", "2")["result"]["told"] == '{"E": 2, "unit": "ünï"}'
    assert '{"E": 2' in corral("show", "2").stdout
    assert corral.output("printf") == "1\n2\n"


def test_every_attempt_has_a_place_of_its_own_for_its_result(corral: Corral) -> None:
    """A failed attempt's words are kept, and are not the next one's."""
    line = f"echo $CORRAL_ATTEMPT >> $CORRAL_RESULT; : {{n=1}}; {count_in(corral.folder, 3, 1)}"
    corral("run", "--retries", "1", line)
    assert corral.json("show", "1")["result"]["told"] == "2\n"


def test_a_result_that_is_too_long_fails_the_task_and_says_so(corral: Corral) -> None:
    corral("run", "head -c 70000 /dev/zero > $CORRAL_RESULT", code=1)
    assert (
        "CORRAL_RESULT holds more than 65536 bytes"
        in corral.rows("head", "failed.csv")[0]["reason"]
    )
    assert corral.rows("head", "attempts.csv")[0]["kind"] == "output"


def test_what_is_no_file_is_no_result(corral: Corral) -> None:
    corral.write("secret", "not mine to tell")
    corral(
        "run", f"ln -s {corral.folder}/secret $CORRAL_RESULT; mkdir $CORRAL_PROGRESS; echo {{1..2}}"
    )
    assert corral.json("show", "1")["result"]["told"] == ""


def test_progress_is_seen_while_a_task_runs(corral: Corral) -> None:
    flag = corral.folder / "flag"
    line = (
        f"printf 'step 1\\nstep \\033[31m2\\n' > $CORRAL_PROGRESS; "
        f"until test -e {flag}; do sleep 0.05; done; : {{n=1}}"
    )
    corral("run", "-d", "--name", "it", line)
    wait_until(
        lambda: corral.json("status", "it")["progress"] == [{"task": 1, "line": "step \x1b[31m2"}],
        seconds=15,
        what="the progress is known",
    )
    assert "task 1: step �[31m2" in corral("status", "it").stdout
    assert "step" in corral("show", "it", "1").stdout
    assert "It says: step" in corral("why", "it", "1").stdout
    flag.touch()
    corral("attach", "it")
