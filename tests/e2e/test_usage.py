"""Wrong usage: exit 2, what is wrong where, the way out, and nothing started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared
WRONG = {
    "unknown placeholder": (["./x -x {x}"], "did you mean an axis after -x?"),
    "misspelt placeholder": (["echo {temp=1..3} {tmep}"], "did you mean {temp}?"),
    "empty glob": (["cat {nosuch/*.txt}"], "looked in nosuch/"),
    "bad range": (["echo {1..5:0}"], "a step of 0"),
    "range without end": (["echo {5..}"], "no range"),
    "misspelt option": (["--dryrun", "x"], "did you mean --dry-run?"),
    "options as the command": (["-z", "x"], "no such option"),
    "option after the command": (["echo {1..3}", "-r3"], "options go before the command"),
    "lone brace": (["gs", "-o", "{", "x"], "quote the word"),
    "no replicates": (["-r", "0", "echo"], "at least one replicate"),
    "replicates that are no number": (["-r", "x", "echo"], "not a valid integer"),
    "a time that is none": (["--timeout", "soon", "echo"], "is no time"),
    "nothing to run": ([], "nothing to run"),
    "blank command": (["  "], "nothing to run"),
    "no such run file": (["nosuch.toml"], "no such file"),
    "no such push": (["--push", "nosuch", "echo"], "no such file"),
    "a bad parameter": (["-p", "T", "echo {T}"], "NAME=VALUE"),
    "a name that is none": (["--name", "a/b", "echo"], "letters, digits"),
    "an unset variable": (["--env", "SURELY_NOT_SET", "echo"], "is not set here"),
    "placeholder in a here-document": (["cat <<E\n{host}\nE"], "here-document"),
    "output outside": (["echo {>../x}"], "own folder"),
    "a share of time that ends half of all": (["--timeout", "90%", "echo"], "than the median"),
    "a run's time that is none": (["--run-timeout", "never", "echo"], "is no time"),
    "a halt without a number": (["--halt", "now", "echo"], "--halt soon,fail=10"),
    "a halt after a part of a failure": (["--halt", "now,fail=0.5", "echo"], "fail=5%"),
    "a cap that keeps nothing": (["--output-cap", "3", "echo"], "from 1K"),
    "a size that is none": (["--disk-floor", "much", "echo"], "is no size"),
    "memory that shrinks": (["--memory", "4G,1G", "echo"], "above the one before"),
    "memory for no program": (["--memory", "2K", "echo"], "no program"),
    "negative retries": (["--retries", "-1", "echo"], "from 0"),
    "no slots": (["-j", "0", "echo"], "from 1"),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG)
def test_wrong_usage_starts_nothing(corral: Corral, words: list[str], said: str) -> None:
    done = corral("run", *words, code=2)
    assert said in done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) <= 12
    assert "\n  try: " in done.stderr
    assert not (corral.folder / ".corral").exists()


def test_the_caret_points_at_the_offending_brace(corral: Corral) -> None:
    lines = corral("run", "echo {1..3} {nosuch}", code=2).stderr.splitlines()
    assert lines[1] == "  echo {1..3} {nosuch}"
    assert lines[2] == "              ^ column 13"


def test_an_unreadable_file_is_named(corral: Corral) -> None:
    corral.write("dir.toml/x", "")
    assert "dir.toml" in corral("run", "dir.toml", code=2).stderr
    corral.write("bad.toml", "run = [")
    assert "bad.toml" in corral("run", "bad.toml", code=2).stderr


@pytest.mark.parametrize(
    "words",
    [["nosuchverb"], ["status", "nosuch"], ["show"], ["show", "99"], ["tasks", "last", "x=1"],
     ["logs", "last", "77"], ["rm", "nosuch"], ["status", "--nosuch"], ["unpause"], ["collect", "--as", "x"]],
    ids=" ".join,
)  # fmt: skip
def test_verbs_refuse_what_makes_no_sense(corral: Corral, words: list[str]) -> None:
    corral("run", "-q", "echo {1..2}")
    done = corral(*words, code=2)
    assert done.stderr.startswith("corral: ")
    assert len(done.stderr.splitlines()) <= 6


JSON = {
    "check": ["check", "job.toml"], "ls": ["ls"], "status": ["status"], "tasks": ["tasks"],
    "attempts": ["attempts"], "show": ["show", "1"], "logs": ["logs"], "why": ["why", "1"],
    "collect": ["collect"], "report": ["report"], "retry": ["retry"], "rerun": ["rerun", "1"],
    "resume": ["resume"], "attach": ["attach"], "hosts": ["hosts"], "expand": ["hosts", "expand", "a[1-2]"],
    "fold": ["hosts", "fold", "a1", "a2"], "reap": ["reap", "-n"], "db": ["db", "check"],
    "init": ["init", "new.toml"], "init from": ["init", "--from-run", "echo", "-"],
    "rm": ["rm", "--yes", "echo"],
}  # fmt: skip


def test_each_verb_says_it_as_one_json_object(corral: Corral) -> None:
    corral.write("job.toml", 'run = "echo {1,2}"\n')
    assert json.loads(corral("run", "-q", "--json", "echo {1,2}").stdout)["exit"] == 0
    for words in JSON.values():
        assert corral.json(*words)
    assert corral.json("hosts", "fold", "a1", "a2", "b")["set"] == "a[1-2],b"
    assert "[sweep]" in corral.json("init", "-")["text"]


def test_a_word_that_can_only_mean_tasks_is_of_the_last_run(corral: Corral) -> None:
    corral("run", "-q", "--retries", "0", "exit {0,3,4}", code=1)
    for word, numbers in (("2", [2]), ("1,3", [1, 3]), ("failed", [2, 3]), ("arg1=4", [3])):
        assert [task["number"] for task in corral.json("tasks", word)["tasks"]] == numbers


def test_without_a_run_every_verb_says_so(corral: Corral) -> None:
    for verb in ("ls", "status", "tasks", "attempts", "logs", "why", "collect", "resume", "attach"):
        assert "corral run COMMAND" in corral(verb, code=2).stderr


def test_a_variable_that_is_no_text_reaches_the_tasks_as_it_is(corral: Corral) -> None:
    corral.environment["ODD"] = "a\udcff\nb=c"
    corral("run", "-q", "printenv ODD; : {1,2}")
    assert (corral.results("printenv") / "output.txt").read_bytes() == b"a\xff\nb=c\n" * 2
    corral("run", "-q", "-d", "--here", "until test -e go; do sleep 0.02; done; : {n=1}")
    corral("run", "-q", "--name", "two", "printenv ODD; : {3,4}")  # by the master that is there
    assert (corral.results("two") / "output.txt").read_bytes() == b"a\xff\nb=c\n" * 2
    corral.write("go", "")
    said = corral("run", "--env", "ODD", "true", code=2).stderr
    assert "--env ODD: a value that travels is not UTF-8: a\\xff" in said


def test_a_word_that_is_no_text_is_refused(corral: Corral) -> None:
    for words in (("run", "--ssh", "ssh \udc80", "-w", "h1", "true"), ("status", "\udc80")):
        said = corral(*words, code=2).stderr
        assert said.startswith("corral: a word of the command line is not UTF-8: ")
        assert "\\x80\n  try: " in said
    assert not (corral.folder / ".corral").exists()


def test_a_place_without_room_for_a_state_folder_is_named(corral: Corral) -> None:
    corral.write(".corral", "a file stands in its place")
    assert "no state folder" in corral("run", "echo", code=4).stderr


def test_a_foreign_database_is_refused_and_left_alone(corral: Corral) -> None:
    corral("run", "-q", "echo 1")
    database = corral.folder / ".corral" / "corral.db"
    for file in database.parent.glob("corral.db*"):
        file.unlink()
    database.write_bytes(b"this is no database" * 100)
    done = corral("status", code=4)
    assert "cannot be" in done.stderr
    assert database.read_bytes().startswith(b"this is no database")


def test_a_database_of_a_newer_version_is_refused_with_the_version(corral: Corral) -> None:
    import sqlite3

    corral("run", "-q", "echo 1")
    connection = sqlite3.connect(corral.folder / ".corral" / "corral.db")
    connection.execute("pragma user_version=99")
    connection.close()
    assert "version 99" in corral("run", "echo 1", code=4).stderr


def test_output_into_a_closed_pipe_is_no_error(corral: Corral) -> None:
    corral("run", "-q", "echo {1..200}")
    words = f"{corral._words(('logs',))[0]} -m corral logs | head -n 1"
    done = subprocess.run(
        words, shell=True, cwd=corral.folder, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_every_verb_has_help(corral: Corral) -> None:
    from corral.cli.main import VERBS

    listed = corral("--help").stdout
    for verb in VERBS:
        assert verb in listed
        assert "Usage:" in corral(verb, "--help").stdout


def test_a_dry_run_prints_every_command_and_leaves_nothing(corral: Corral) -> None:
    done = corral("run", "-n", "-r2", "echo {a,b} {rep}")
    assert done.stdout.splitlines() == ["echo a 1", "echo a 2", "echo b 1", "echo b 2"]
    assert not (corral.folder / ".corral").exists()


def test_modules_of_the_users_own_do_not_get_in_the_way(corral: Corral) -> None:
    for name in ("json.py", "random.py", "corral/__init__.py"):
        corral.write(name, "raise SystemExit('shadowed')\n")
    words = [sys.executable, "-P", "-m", "corral", "run", "-d", "echo {1..2}"]
    done = subprocess.run(
        words, cwd=corral.folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    path = corral.results("echo") / "output.txt"
    wait_until(path.exists, seconds=20, what="the run in the background is collected")


def test_what_is_corrals_own_is_never_shipped(corral: Corral) -> None:
    corral.write("mine.txt", "mine\n")
    corral("run", "-q", "echo {1..2}")
    corral("run", "-q", "--push", ".", "find . -type f")
    assert sorted(corral.output("find").split()) == ["./mine.txt"]


@pytest.mark.parametrize(
    "words",
    [["run", "-r", "9" * 20, "echo"], ["run", "echo {1..1000000} {1..1000000}"],
     ["run", "--env", "=x", "echo"], ["run", "--shell", "", "echo"], ["run", "--name", "", "echo"],
     ["run", "--push", "", "echo"]],
    ids=str,
)  # fmt: skip
def test_absurd_and_empty_options_are_refused(corral: Corral, words: list[str]) -> None:
    assert "try:" in corral(*words, code=2).stderr
    assert not (corral.folder / ".corral").exists()


def test_rerun_asks_which(corral: Corral) -> None:
    corral("run", "-q", "echo {1..2}")
    assert "which tasks" in corral("rerun", code=2).stderr


def test_a_state_folder_that_may_be_somebody_elses_is_not_used(corral: Corral) -> None:
    other = corral.folder / "other"
    corral.write("other/.keep", "")
    corral.write("mine/.keep", "")
    theirs = type(corral)(other)
    theirs("run", "-q", "echo theirs")
    (corral.folder / ".corral").symlink_to(other / ".corral")
    mine = type(corral)(corral.folder / "mine")
    mine("run", "-q", "echo mine")
    assert [run["words"] for run in mine.json("ls")["runs"]] == [["echo mine"]]
    assert "somebody else" in corral("run", "echo", code=4).stderr


def test_results_that_cannot_be_written_leave_no_agent_and_are_not_lost(corral: Corral) -> None:
    corral.write("file", "in the way")
    done = corral("run", "-q", "-o", "file/results", "echo {1..3}", code=1)
    assert "results cannot be written" in done.stderr
    assert not corral.processes()
    assert corral("logs").stdout == "1\n2\n3\n"


def test_the_caret_stands_right_after_tabs_and_wide_letters(corral: Corral) -> None:
    lines = corral("run", "echo\t日本 e\u0301 {nosuch}", code=2).stderr.splitlines()
    assert lines[1] == "  echo\t日本 e\u0301 {nosuch}"
    assert lines[2] == "      \t       ^ column 12"


def test_a_table_with_wide_letters_is_straight(corral: Corral) -> None:
    corral("run", "-q", "echo {日本,x}")
    heads, first, second = corral("tasks").stdout.splitlines()
    assert first.startswith("1     日本  1")
    assert second.startswith("2     x     1")
    assert heads.startswith("task  arg1  rep")


@pytest.mark.parametrize(
    "words", [["ls"], ["tasks"], ["logs"], ["collect", "--as", "concat"], ["--version"], ["run", "echo 2"]], ids=str
)  # fmt: skip
def test_closed_streams_are_none_to_read_or_write(corral: Corral, words: list[str]) -> None:
    corral("run", "-q", "echo {1..2}")
    for closed in (">&-", "<&- >&- 2>&-"):
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {closed}', "sh", *corral._words(tuple(words))],
            cwd=corral.folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        assert done.returncode == 0
    assert corral("db", "check").returncode == 0
    assert corral("logs").returncode == 0


@pytest.mark.parametrize("words", [["tasks"], ["ls"], ["collect", "--as", "tagged"], ["logs"], ["--help"]], ids=str)  # fmt: skip
def test_a_reader_that_is_gone_at_once_is_no_error(corral: Corral, words: list[str]) -> None:
    corral("run", "-q", "echo {1..2}")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        corral._words(tuple(words)),
        cwd=corral.folder,
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_that_lacks_a_letter_gets_its_number(corral: Corral) -> None:
    corral.environment["PYTHONIOENCODING"] = "latin-1"
    corral("run", "-q", "echo {é,日本}")
    assert "\\u65e5\\u672c" in corral("tasks").stdout
    assert "Usage" in corral("run", "--help").stdout


@pytest.mark.parametrize("words", [[], ["db"]], ids=str)
def test_without_a_verb_the_help_is_shown(corral: Corral, words: list[str]) -> None:
    said = corral(*words, code=2).stderr
    assert said == corral(*words, "--help").stdout


def test_an_option_without_its_value_names_the_help_of_its_verb(corral: Corral) -> None:
    assert "  try: corral collect --help\n" in corral("collect", "--as", code=2).stderr


def test_a_range_alone_means_tasks_of_the_last_run(corral: Corral) -> None:
    corral("run", "-q", "echo {1..4}")
    assert corral("logs", "2-3").stdout == "2\n3\n"
    assert "write 2-3" in corral("tasks", "3-2", code=2).stderr
    assert "its tasks are 1 to 4" in corral("tasks", "0", code=2).stderr


@pytest.mark.parametrize(
    ("flag", "text"),
    [("--timeout", "0"), ("--run-timeout", "x"), ("--disk-floor", "x"), ("--output-cap", "x"),
     ("--memory", "x"), ("--heartbeat", "0"), ("--lost-after", "x")],
)  # fmt: skip
def test_a_time_or_size_that_is_none_is_named_with_its_option(
    corral: Corral, flag: str, text: str
) -> None:
    assert f"corral: {flag} {text}: is no" in corral("run", flag, text, "echo", code=2).stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [('{"a": 1, "a": 2}', "t.jsonl:1: two values are called a"),
     ('{"a" 1}', "t.jsonl:1:6: expecting ':' delimiter"),
     ('{"a": "x\\u0000"}', "t.jsonl:1: a value cannot hold a NUL byte\n  try: ")],
    ids=["twice", "no JSON", "NUL"],
)  # fmt: skip
def test_a_line_of_json_that_gives_no_setting_is_told(corral: Corral, line: str, said: str) -> None:
    corral.write("t.jsonl", line)
    assert said in corral("run", "--params", "t.jsonl", "echo", code=2).stderr


def test_an_exit_code_does_not_depend_on_who_reads_the_results_path(corral: Corral) -> None:
    read, write = os.pipe()
    os.close(read)
    words = corral._words(("run", "-q", "--retries", "0", "exit {0,3}"))
    assert subprocess.run(words, cwd=corral.folder, stdout=write, check=False).returncode == 1
    os.close(write)


def test_an_interrupt_while_modules_are_loaded_ends_without_a_word(corral: Corral) -> None:
    corral.write("click.py", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = subprocess.run(
        [sys.executable, "-m", "corral", "ls"],
        cwd=corral.folder, capture_output=True, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


@pytest.mark.parametrize("left", ["", "00", "no key"])
def test_a_secret_that_was_cut_off_is_no_key(corral: Corral, left: str) -> None:
    corral("run", "-q", "echo 1")
    secret = corral.folder / ".corral" / "secret"
    whole = secret.read_text()
    secret.write_text(left)
    said = corral("run", "echo 2", code=4).stderr
    secret.write_text(whole)
    assert f"{secret}: " in said
    assert "\n  try: put it back" in said


def test_a_run_goes_on_when_nobody_hears_what_is_said(corral: Corral) -> None:
    """Bug: a reader of stderr that was gone ended the command at once, with 0 or 1 by chance."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run(
            corral._words(("run", "echo {1..3}")),
            cwd=corral.folder, env=corral.environment,
            stdout=subprocess.PIPE, stderr=gone, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "results/echo\n")
    assert corral.output("echo") == "1\n2\n3\n"


def test_a_shell_gets_the_script_that_completes_words(corral: Corral) -> None:
    corral.environment["_CORRAL_COMPLETE"] = "bash_source"
    assert corral().stdout.startswith("_corral_completion() {")
    corral.environment |= {
        "_CORRAL_COMPLETE": "bash_complete",
        "COMP_WORDS": "corral att",
        "COMP_CWORD": "1",
    }
    assert corral().stdout.split() == ["plain,attach", "plain,attempts"]
