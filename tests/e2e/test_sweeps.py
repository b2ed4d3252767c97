"""The main job: a command with values in braces, on the cores of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared


def test_a_sweep_with_replicates_has_a_row_and_a_line_for_each_task(corral: Corral) -> None:
    done = corral("run", "-r3", "echo {1..5} {a,b} {rep}")
    rows = corral.rows("echo")
    expected = [f"{n} {c} {r}" for n in range(1, 6) for c in "ab" for r in (1, 2, 3)]
    assert corral.output("echo").splitlines() == expected
    assert [f"{r['arg1']} {r['arg2']} {r['rep']}" for r in rows] == expected
    assert {row["state"] for row in rows} == {"done"}
    assert done.stdout.strip() == "results/echo"


def test_the_same_command_again_starts_nothing(corral: Corral) -> None:
    corral("run", "-r3", "echo {1..5} {a,b} {rep}")
    before = corral.starts()
    again = corral("run", "-r3", "echo {1..5} {a,b} {rep}")
    assert "nothing to do" in again.stderr
    assert corral.starts() == before == 30


def test_more_values_and_replicates_run_only_what_is_new(corral: Corral) -> None:
    corral("run", "-r2", "echo {n=1..3} {rep}")
    corral("run", "-r3", "echo {n=0..4} {rep}")
    assert corral.starts() == 15
    assert corral.output("echo").splitlines() == [f"{n} {r}" for n in range(5) for r in (1, 2, 3)]
    numbers = [int(row["task"]) for row in corral.rows("echo")]
    assert sorted(numbers) == list(range(1, 16))  # the old keep theirs, the new go on


def test_fewer_values_show_only_those_and_all_shows_the_rest(corral: Corral) -> None:
    corral("run", "echo {1..4}")
    corral("run", "echo {2,3}")
    assert corral.output("echo") == "2\n3\n"
    corral("collect", "echo", "--all")
    assert sorted(corral.output("echo").split()) == ["1", "2", "3", "4"]


def test_a_changed_script_begins_a_new_generation_and_says_so(corral: Corral) -> None:
    corral.write("sim.py", "import sys; print('old', sys.argv[1])\n")
    corral("run", "python3 sim.py {1..3}")
    corral.write("sim.py", "import sys; print('new', sys.argv[1])\n")
    again = corral("run", "python3 sim.py {1..3}")
    assert "sim.py changed" in again.stderr
    assert corral.output("python3") == "new 1\nnew 2\nnew 3\n"
    assert corral.json("status", "python3")["run"]["generation"] == 2


def test_fresh_runs_everything_again(corral: Corral) -> None:
    corral("run", "echo {1..3}")
    corral("run", "--fresh", "echo {1..3}")
    assert corral.json("status")["run"]["generation"] == 2
    assert corral.output("echo") == "1\n2\n3\n"


def test_a_changed_input_of_one_value_makes_only_its_task_fresh(corral: Corral) -> None:
    for name in ("a", "b", "c"):
        corral.write(f"data/{name}.txt", f"{name}\n")
    corral("run", "cat {f=data/*.txt}")
    corral.write("data/b.txt", "changed\n")
    again = corral("run", "cat {f=data/*.txt}")
    assert "2 kept, 1 again" in again.stderr
    assert corral.output("cat") == "a\nchanged\nc\n"
    assert corral.starts() == 4


def test_the_script_travels_and_the_files_come_home(corral: Corral) -> None:
    corral.write("sim.py", "import sys\nprint(float(sys.argv[2]) ** 2)\n")
    corral("run", "python3 sim.py -T {1..5:.5} > {>out.txt}")
    values = [1 + step / 2 for step in range(9)]
    files = [corral.results("python3") / "files" / str(n) / "out.txt" for n in range(1, 10)]
    assert [float(file.read_text()) for file in files] == [value**2 for value in values]


def test_a_name_that_uses_every_axis_is_kept(corral: Corral) -> None:
    corral("run", "-r2", "echo {n} > {>out-{n}-{rep}.txt} && true {n=1..2}")
    names = sorted(p.name for p in (corral.results("echo") / "files").iterdir())
    assert names == ["out-1-1.txt", "out-1-2.txt", "out-2-1.txt", "out-2-2.txt"]


def test_awk_keeps_its_braces(corral: Corral) -> None:
    corral.write("data/x.txt", "first second\n")
    dry = corral("run", "-n", 'awk "{print \\$1}" {f=data/*.txt}')
    assert dry.stdout == 'awk "{print \\$1}" data/x.txt\n'
    assert not (corral.folder / ".corral").exists()
    corral("run", "-q", "awk '{print $1}' {f=data/*.txt}")
    assert corral.output("awk") == "first\n"


@pytest.mark.system("gs")
@pytest.mark.timeout(120)  # real GhostScript on real pages, on a slow machine
def test_one_picture_per_page_with_ghostscript(corral: Corral) -> None:
    (corral.folder / "pages").mkdir()
    for page in range(1, 5):
        source = corral.write(
            f"page{page}.ps",
            f"%!PS\n/Helvetica findfont 72 scalefont setfont 100 400 moveto (page {page}) show showpage\n",
        )
        made = corral.folder / "pages" / f"page {page}.pdf"
        subprocess.run(
            [
                "gs",
                "-q",
                "-dNOPAUSE",
                "-dBATCH",
                "-sDEVICE=pdfwrite",
                f"-sOutputFile={made}",
                source,
            ],
            check=True,
        )
    corral(
        "run",
        "gs -q -dNOPAUSE -dBATCH -sDEVICE=png16m -r72 -sOutputFile={>{page.stem}.png} {page=pages/*.pdf}",
    )
    pictures = sorted((corral.results("gs") / "files").iterdir())
    assert [p.name for p in pictures] == [f"page {n}.png" for n in range(1, 5)]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)


def test_failures_are_counted_told_and_written_down(corral: Corral) -> None:
    done = corral("run", "exit {0..3}", code=1)
    assert "1 done, 3 failed" in done.stderr
    assert [(r["arg1"], r["reason"]) for r in corral.rows("exit", "failed.csv")] == [
        ("1", "exit 1"),
        ("2", "exit 2"),
        ("3", "exit 3"),
    ]
    assert [row["state"] for row in corral.rows("exit")] == ["done", "failed", "failed", "failed"]


def test_the_same_command_again_runs_only_what_failed(corral: Corral) -> None:
    flag = corral.folder / "flag"
    corral("run", f"test {{n=1..3}} != 2 || test -e {flag}", code=1)
    flag.touch()
    corral("run", f"test {{n=1..3}} != 2 || test -e {flag}")
    assert corral.starts() == 4
    assert [a["reason"] for a in corral.json("attempts", "last", "2")["attempts"]] == [
        "first",
        "asked",
    ]


def test_retries_that_were_asked_for_hold_on_one_machine(corral: Corral) -> None:
    corral("run", "--retries", "2", "exit 3", code=1)
    assert [a["reason"] for a in corral.json("attempts")["attempts"]] == [
        "first",
        "failed",
        "failed",
    ]
    corral("run", "exit 4", code=1)
    assert len(corral.json("attempts")["attempts"]) == 1


def test_a_single_task_prints_its_stdout_and_nothing_else(corral: Corral) -> None:
    done = corral("run", "printf 'one\\0two'; echo talk >&2")
    assert done.stdout == "one\0two"
    assert (corral.results("printf") / "output.txt").read_bytes() == b"one\0two"
    assert (corral.results("printf") / "errors.txt").read_text() == "1\ttalk\n"


def test_a_vector_needs_no_shell(corral: Corral) -> None:
    corral("run", "printf", "%s|", "{a b,c}", "$HOME", "{x=1,2}", "*")
    assert corral.output("printf") == "{a b,c}|$HOME|1|*|{a b,c}|$HOME|2|*|"


@pytest.mark.parametrize(
    "value",
    ["two words", "it's", 'say "hi"', "$(touch pwned)", "`touch pwned`", "new\nline", "ünï→", "-n", "a;b", "\\", "*", "~"],
)  # fmt: skip
def test_hostile_values_arrive_byte_for_byte_in_every_place(corral: Corral, value: str) -> None:
    corral.write(
        "job.toml",
        f"run = '''printf '%s|' {{v}} '{{v}}' \"{{v}}\" \"$(printf %s {{v}})x\"'''\nsweep.v = [{_toml(value)}]\n",
    )
    done = corral("run", "job.toml")
    assert done.stdout == f"{value}|{value}|{value}|{value}x|"
    assert not (corral.folder / "pwned").exists()


def _toml(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)


def test_the_environment_of_the_caller_and_of_the_task(corral: Corral) -> None:
    corral.environment["MINE"] = "from the caller"
    wanted = "^(MINE|SET|CORRAL_(TASK|PARAM|RUN|SLOT)|OMP)"
    corral(
        "run", "--name", "env", "-r2", "--env", "SET=1", f"true {{x=a}}; env | grep -E '{wanted}'"
    )
    first = corral.output("env").splitlines()
    assert {
        "MINE=from the caller",
        "SET=1",
        "CORRAL_PARAM_x=a",
        "CORRAL_RUN=env",
        "OMP_NUM_THREADS=1",
    } <= set(first)
    assert "CORRAL_TASK=1" in first
    assert "CORRAL_TASK=2" in first
    assert "CORRAL_TASK_COUNT=2" in first


def test_here_runs_in_this_folder_and_ships_nothing(corral: Corral) -> None:
    corral.write("data.txt", "here\n")
    corral("run", "--here", "cat data.txt; pwd")
    assert corral.output("cat") == f"here\n{corral.folder}\n"


def test_push_ships_files_and_folders_at_their_place(corral: Corral) -> None:
    corral.write("conf/a.ini", "A\n")
    corral.write("conf/deep/b.ini", "B\n")
    corral("run", "--push", "conf", "cat conf/a.ini conf/deep/b.ini; ls")
    assert corral.output("cat") == "A\nB\nconf\n"


@pytest.mark.parametrize(
    ("options", "word"),
    [(("--push", "data"), "{n=1}"), ((), "{<data/} {n=1}")],
    ids=["push", "mark"],
)
def test_a_folder_ships_what_its_links_lead_to_once(
    corral: Corral, options: tuple[str, ...], word: str
) -> None:
    """Bug: pushed folders lacked it, without a word; a mark had it 41 times, or never came to an end."""
    corral.write("data/1", "one\n")
    corral.write("other/2", "two\n")
    corral.write("other/deep/3", "three\n")
    for link, target in {"link": "../other", "l1": ".", "l2": ".", "up": ".."}.items():
        (corral.folder / "data" / link).symlink_to(target)
    (corral.folder / "other" / "back").symlink_to("../data")
    corral("run", *options, f"find data -type f | sort; true {word}")
    assert corral.output("find").split() == ["data/1", "data/link/2", "data/link/deep/3"]


@pytest.mark.parametrize(
    ("options", "line", "noted"),
    [
        ((), "cat d.txt ./d.txt; true {n=1}", True),
        (("--push", "d.txt"), "cat d.txt ./d.txt; true {n=1}", False),
        ((), "cat {<d.txt} d.txt; true {n=1}", False),
        (("--push", "d.txt"), "true <d.txt; cat other {n=1}", True),
    ],
)
def test_a_file_that_is_shipped_is_not_said_to_stay(
    corral: Corral, options: tuple[str, ...], line: str, *, noted: bool
) -> None:
    """Bug: the preview told to --push what was pushed, or had a mark elsewhere in the line."""
    corral.write("d.txt", "")
    corral.write("other", "")
    assert ("is here and not shipped" in corral("run", "-n", *options, line).stderr) == noted


@pytest.mark.parametrize("word", ["--push=data", "{<data/}"])
def test_a_name_that_is_no_utf8_is_not_shipped(corral: Corral, word: str) -> None:
    """Bug: the master died of it, with a traceback."""
    (corral.folder / "data").mkdir()
    (corral.folder / "data" / os.fsdecode(b"a\xff")).touch()
    words = (word, "true {n=1}") if word.startswith("--") else (f"true {word} {{n=1}}",)
    done = corral("run", *words, code=2)
    assert "corral: the name of a shipped file is not UTF-8: data/a\\xff\n" in done.stderr


def test_a_file_above_this_folder_stands_under_in(corral: Corral) -> None:
    corral.write("work/keep", "")
    corral.write("tool.sh", "#!/bin/sh\necho tool $0 $1\n", executable=True)
    corral.folder = corral.folder / "work"
    corral("run", "../tool.sh {1..2}")
    assert corral.output("tool") == "tool in/tool.sh 1\ntool in/tool.sh 2\n"


def test_the_run_file_says_the_same_and_run_toml_repeats_it(corral: Corral) -> None:
    corral.write(
        "job.toml",
        'run = "echo {T} {L} {rep}"\nreps = 2\ntimeout = "1m"\nretries = 1\n[sweep]\nT = "1..2:.5"\nL = [16, 32]\n',
    )
    corral("run", "job.toml")
    expected = [f"{t} {size} {r}" for t in ("1", "1.5", "2") for size in (16, 32) for r in (1, 2)]
    assert corral.output("job").splitlines() == expected
    again = corral.folder / "again"
    again.mkdir()
    shutil.copy(corral.results("job") / "run.toml", again / "run.toml")
    other = type(corral)(again)
    other("run", "run.toml")
    assert other.output("run") == corral.output("job")


def test_a_task_is_killed_at_its_timeout_with_all_it_started(corral: Corral) -> None:
    corral("run", "--timeout", "0.5", "sleep 60 & sleep 61; echo never", code=1)
    assert [row["kind"] for row in corral.rows("sleep", "attempts.csv")] == ["timeout"]
    assert not corral.processes(tasks_only=True)


def test_a_command_that_only_fails_is_paused_and_says_how_to_go_on(corral: Corral) -> None:
    done = corral("run", "exit {n=1..60}", code=5)
    assert "the command seems bad" in done.stderr
    assert "corral unpause exit" in done.stderr
    assert len(corral.rows("exit", "failed.csv")) >= 20
    assert any(row["state"] == "waiting" for row in corral.rows("exit"))
    corral("unpause", "exit")
    corral("resume", "exit", code=1)
    assert {row["state"] for row in corral.rows("exit")} == {"failed"}
