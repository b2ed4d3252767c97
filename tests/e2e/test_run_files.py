"""Run files: errors as a compiler gives them, ``check``, ``init``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from corral.cli.init import EVERYTHING
from corral.work import runfile

if TYPE_CHECKING:
    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared


def test_all_errors_come_at_once_with_line_column_caret_and_way_out(corral: Corral) -> None:
    corral.write(
        "job.toml",
        'run = "echo {T}"\nrep = 3\nexit_codes = { 77 = "skp" }\n\n[sweep]\nT = true\n',
    )
    said = corral("check", "job.toml", code=2).stderr
    assert said == (
        "corral: job.toml:2:1: unknown key `rep`\n"
        "  rep = 3\n"
        "  ^^^ did you mean `reps`?\n"
        'job.toml:3:16: exit code 77 must mean one of "again", "skip", "fatal"\n'
        '  exit_codes = { 77 = "skp" }\n'
        '                 ^^ did you mean "skip"?\n'
        "job.toml:6:1: `T` in [sweep] must be values\n"
        "  T = true\n"
        '  ^ T = "1..5:.5" or T = [1, 2]\n'
        "  try: 3 errors; nothing was started\n"
    )
    assert corral("run", "job.toml", code=2).stderr == said


def test_values_that_are_none_are_errors_of_their_lines(corral: Corral) -> None:
    corral.write(
        "job.toml",
        'params = "nosuch.csv"\nrun = "echo {T} {f}"\n[sweep]\nT = "1..5:0"\nf = "nosuch/*.txt"\n',
    )
    said = corral("run", "job.toml", code=2).stderr
    assert "job.toml:1:1: nosuch.csv: cannot be read" in said
    assert "job.toml:4:1: {1..5:0}: a step of 0 never arrives" in said
    assert "job.toml:5:1: {nosuch/*.txt} matches no file" in said
    assert not (corral.folder / ".corral").exists()


def test_an_error_in_the_command_points_into_the_file(corral: Corral) -> None:
    corral.write("job.toml", '# a job\nrun = "echo {T} {tmep}"\nsweep = {T = 1, temp = 2}\n')
    lines = corral("check", "job.toml", code=2).stderr.splitlines()
    assert lines[:3] == [
        "corral: job.toml:2:17: {tmep} is not known",
        '  run = "echo {T} {tmep}"',
        "                  ^ did you mean {temp}?; {{tmep}} keeps it as text",
    ]
    corral.write("job.toml", 'run = "echo {T}"\nwhere = "T < t"\nsweep.T = "1..3"\n')
    assert "job.toml:2:14: --where: t is not known" in corral("check", code=2).stderr


def test_templates_are_checked_each(corral: Corral) -> None:
    corral.write("a.j2", "{{ nosuch }}")
    corral.write("job.toml", 'run = "cat a b"\n[inputs]\na = "a.j2"\nb = "missing.j2"\n')
    said = corral("check", code=2).stderr
    assert "job.toml:3:1: a.j2:1: nosuch is not known" in said
    assert "job.toml:4:1: missing.j2: cannot be read" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run = x\nreps = [1,\n", ["job.toml:1:7: invalid value", "job.toml:2:"]),
        ('run = "echo\n', ["job.toml:1:12:"]),
        ('run = "a"\nrun = "b"\n', ["job.toml:2:"]),
        ("[sweep\n", ["job.toml:1:7"]),
        ('run = "a"\nsweep = [1\n', ["job.toml:2:11: unclosed array: the file ends here"]),
    ],
)
def test_what_is_no_toml_is_shown_where_it_is_not(
    corral: Corral, text: str, said: list[str]
) -> None:
    corral.write("job.toml", text)
    found = corral("check", code=2).stderr
    for line in said:
        assert line in found
    assert "^" in found


def test_a_right_file_is_shown_as_it_is_meant(corral: Corral) -> None:
    corral.write("job.toml", 'run = "echo {T} {rep}"\nreps = 2\nsweep.T = "1..3"\n')
    assert "job: 6 tasks = T (1..3: 3) x 2 replicates" in corral("check").stderr
    assert corral.json("check")["tasks"] == 6
    assert not (corral.folder / ".corral").exists()


def test_check_knows_what_stdin_would_be(corral: Corral) -> None:
    corral.write("job.toml", 'run = "echo {@-}"\nstdin = "a\\nb\\n"\n')
    assert corral.json("check")["tasks"] == 2
    corral("run", "job.toml", stdin="something else")
    assert corral.output("job") == "a\nb\n"


def test_init_writes_a_file_that_runs_and_never_over_another(corral: Corral) -> None:
    corral("init")
    assert "job: 54 tasks" in corral("check").stderr
    assert "is there already" in corral("init", code=2).stderr
    corral("init", "--force")
    corral("run", "job.toml")
    assert len(corral.output("job").splitlines()) == 54


def test_init_names_every_key_and_every_example_in_it_is_right() -> None:
    for key in runfile.KEYS:
        assert re.search(rf"(?m)^#?\[*{key}\b", EVERYTHING), key
    for example in re.findall(r"(?m)^#([a-z_][a-z0-9_.\"-]* = .*)$", EVERYTHING):
        if not example.startswith(("values", "file", "linked")):
            runfile.load(f'run = "echo"\n{example}\n', path="job.toml")
    tables = EVERYTHING[EVERYTHING.index("#[inputs]") :]
    runfile.load('run = "echo"\n' + re.sub(r"(?m)^#(?! )", "", tables), path="job.toml")


def test_init_from_a_run_writes_what_repeats_it(corral: Corral) -> None:
    corral("run", "-r2", "--where", "n > 1", "--name", "it", "echo {n=1..3} {rep}")
    corral("init", "--from-run", "it")
    again = corral("run", "it.toml")
    assert "4 kept, nothing to do" in again.stderr
    assert (
        corral("init", "--from-run", "it", "-").stdout
        == (corral.results("it") / "run.toml").read_text()
    )
    assert "no run" in corral("init", "--from-run", "nosuch", code=2).stderr


def test_what_repeats_a_run_has_its_patience_with_hosts_too(corral: Corral) -> None:
    """Bug: these four were options alone, and the file that repeats the run did without."""
    patience = (
        "--no-twins", "--heartbeat", "off", "--lost-after", "5m", "--on-master-loss", "stop",
    )  # fmt: skip
    corral("run", "-q", "--name", "it", *patience, "echo x")
    corral("init", "--from-run", "it")
    text = (corral.folder / "it.toml").read_text()
    for line in (
        "twins = false",
        'heartbeat = "off"',
        'lost_after = "5m"',
        'on_master_loss = "stop"',
    ):
        assert f"{line}\n" in text
    corral("run", "-q", "--name", "again", "it.toml")
    options = [corral.json("status", name)["run"]["options"] for name in ("it", "again")]
    assert [
        (one["twins"], one["silence_counts"], one["lost_after_s"], one["on_master_loss"])
        for one in options
    ] == [(False, False, 300.0, "stop")] * 2
    corral.write("bad.toml", 'run = "echo"\nheartbeat = "of"\non_master_loss = "go"\ntwins = 1\n')
    said = corral("check", "bad.toml", code=2).stderr
    assert said.count("bad.toml:") == 3


def test_the_page_names_every_key() -> None:
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "run-file.md").read_text(encoding="utf-8")
    for key in runfile.KEYS:
        assert re.search(rf"`\[*{key}\b", page), key


def test_what_repeats_a_run_has_its_variables_but_not_those_that_are_as_here(
    corral: Corral,
) -> None:
    corral.environment["TOKEN"] = "secret-1"
    corral("run", "-q", "--name", "it", "--env", "MODE=fast", "--env", "TOKEN", "echo $MODE $TOKEN")
    text = (corral.results("it") / "run.toml").read_text()
    assert '[env]\nMODE = "fast"\nTOKEN = true\n' in text
    assert "secret" not in text
    corral("init", "--from-run", "it")
    corral.environment["TOKEN"] = "secret-2"
    corral("run", "-q", "--fresh", "it.toml")
    assert corral.output("it") == "fast secret-2\n"
    del corral.environment["TOKEN"]
    assert "TOKEN: is not set here" in corral("run", "it.toml", code=2).stderr
    corral.write("bad.toml", 'run = "echo"\nenv = { MODE = 3, "A B" = "x", C = false }\n')
    said = corral("check", "bad.toml", code=2).stderr
    assert said.count("bad.toml:2:") == 3


def test_what_is_wrong_in_one_place_does_not_hide_what_is_in_another(corral: Corral) -> None:
    corral.write(
        "job.toml",
        'run = "echo {T} {t}"\nretrys = 3\nhalt = "日本"\npush = ["nosuch"]\nname = "a/b"\n'
        'check = ["nonempty", "lines=x", "./no.py"]\ncollect = "foo"\n[sweep]\nT = "1..2"\n',
    )
    said = corral("check", code=2).stderr
    found = [line.partition("job.toml:")[2] for line in said.splitlines() if "job.toml:" in line]
    wrong = ["1:17: {t} is", "2:1: unknown key", "3:1: `halt`", "4:1: push nosuch", "5:1: --name",
             "6:22: --check lines=x", "6:33: ./no.py", "7:1: there is no collecting"]  # fmt: skip
    assert len(found) == len(wrong)
    assert all(map(str.startswith, found, wrong)), found
    assert '^^^^ it is "日本"' in said
    assert corral("run", "job.toml", code=2).stderr == said


def test_an_unknown_key_that_may_be_the_sweep_hides_its_echo(corral: Corral) -> None:
    corral.write("job.toml", 'run = "echo {T}"\ncollect = "foo"\n[swep]\nT = "1..2"\n')
    said = corral("check", code=2).stderr
    assert "did you mean `sweep`?" in said
    assert "no collecting rule 'foo'" in said
    assert "{T} is not known" not in said


def test_errors_of_condition_and_outputs_and_words_point_at_them(corral: Corral) -> None:
    corral.write("a.toml", 'run = ["echo", "{n=1,2}", "{m}"]\n')
    assert "a.toml:1:28: {m} is not known" in corral("check", "a.toml", code=2).stderr
    corral.write("b.toml", 'run = "echo {n=1,2}"\noutputs = ["a", "{m}.txt"]\n')
    assert "b.toml:2:19: {m} is not known" in corral("check", "b.toml", code=2).stderr
    corral.write("c.toml", 'run = "echo {n=1,2}"\nwhere = "n <"\n[inputs]\nx = "no.j2"\n')
    said = corral("check", "c.toml", code=2).stderr
    assert "c.toml:2:" in said
    assert "c.toml:4:1: no.j2: cannot be read" in said


def test_a_file_that_is_not_utf_8_is_refused_where_it_is_not(corral: Corral) -> None:
    corral.write("job.toml", b'# \xc3\xa9\nrun = "echo \xff"\n')
    for words in (("check",), ("run", "job.toml")):
        assert "job.toml:2:13: is not UTF-8\n  try: " in corral(*words, code=2).stderr


def test_a_byte_order_mark_and_a_blank_in_the_name_do_no_harm(corral: Corral) -> None:
    corral.write("my job.toml", b'\xef\xbb\xbfrun = "echo {1..2}"\r\n')
    assert corral("check", "my job.toml").stderr.startswith("my-job: 2 tasks")
    assert corral("run", "-q", "my job.toml").stdout == "results/my-job\n"


def test_the_caret_stands_under_wide_letters(corral: Corral) -> None:
    corral.write("job.toml", 'run = "echo 日本 {no}"\n')
    assert corral("check", code=2).stderr.splitlines()[2].startswith(" " * 19 + "^ known")
