"""Input files made from templates: every task its own, there before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared
JOB = """run = "cat conf/run.yaml extra.txt; ./go; : {T} {name}"
reps = 2
sweep.T = ["0.50", "2"]
sweep.name = ["it's", "ünï"]
[inputs]
"conf/run.yaml" = "run.yaml.j2"
"extra.txt" = "extra.j2"
go = "go.j2"
"""


def write(corral: Corral) -> None:
    corral.write("run.yaml.j2", "T: {{ T }}\n{% if T|float > 1 %}big: {{ T|int * 2 }}\n{% endif %}")
    corral.write("extra.j2", "{{ name }} {{ rep }}\n")
    corral.write("go.j2", "#!/bin/sh\necho go {{ T }}\n")
    corral.write("job.toml", JOB)


def test_every_task_gets_its_own_files(corral: Corral) -> None:
    write(corral)
    done = corral("run", "job.toml")
    assert "makes: conf/run.yaml (from run.yaml.j2)" in done.stderr
    expected = [
        f"T: {t}\n{'big: 4' + chr(10) if t == '2' else ''}{name} {rep}\ngo {t}\n"
        for t in ("0.50", "2")
        for name in ("it's", "ünï")
        for rep in (1, 2)
    ]
    assert corral.output("job") == "".join(expected)


def test_a_changed_template_makes_only_those_tasks_fresh_whose_files_it_changes(
    corral: Corral,
) -> None:
    write(corral)
    corral("run", "-q", "job.toml")
    corral.write("run.yaml.j2", "T: {{ T }}\n{% if T|float > 1 %}big: {{ T|int * 3 }}\n{% endif %}")
    assert "4 kept, 4 again" in corral("run", "job.toml").stderr
    assert corral.output("job").count("big: 6\n") == 4


def test_the_same_by_option_and_run_toml_has_it(corral: Corral) -> None:
    corral.write("a.j2", "n is {{ n }}")
    corral("run", "--input", "a.txt=a.j2", "cat a.txt; echo; : {n=1..2}")
    assert corral.output("cat") == "n is 1\nn is 2\n"
    assert '[inputs]\n"a.txt" = "a.j2"\n' in (corral.results("cat") / "run.toml").read_text()


def test_a_task_may_write_over_its_files_and_the_next_gets_fresh_ones(corral: Corral) -> None:
    corral.write("a.j2", "{{ n }}")
    corral("run", "-j1", "--input", "a.txt=a.j2", "cat a.txt; echo; echo mine > a.txt; : {n=1..5}")
    assert corral.output("cat") == "1\n2\n3\n4\n5\n"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("a\n{{ n }} {{ nn }}\n", "t.j2:2: nn is not known"),
        ("{% if n == '9' %}{{ surely }}{% endif %}", "surely is not known"),
        ("{{ n.real }}", "t.j2:1: cannot be computed for rep=1 n='1'"),
        ("\n{{ 1 // (n|int - 3) }}", "t.j2:2: cannot be computed for rep=1 n='3'"),
        ("{% if n %}", "t.j2:1:"),
        ("{{ n | nosuch }}", "nosuch"),
        ("{% include 'x' %}", "cannot take in another"),
        ("{{ ''.__class__.__mro__ }}", "cannot be computed"),
        ("{{ n * 300000 }}", "more than 262144"),
        ("{{ [1, 2] | random }}", "random"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_template_is_said_before_anything_starts(
    corral: Corral, template: str, said: str
) -> None:
    corral.write("t.j2", template)
    done = corral("run", "--input", "a.txt=t.j2", "echo {n=1..5}", code=2)
    assert said in done.stderr
    assert "try: " in done.stderr
    assert not (corral.folder / ".corral").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--input", "a.txt", "echo"], "is not FILE=TEMPLATE"),
        (["--input", "../a=t.j2", "echo"], "own folder"),
        (["--input", "/a=t.j2", "echo"], "own folder"),
        (["--input", "a//b=t.j2", "echo"], "own folder"),
        (["--input", "a\nb=t.j2", "echo"], "own folder"),
        (["--input", "a/=t.j2", "echo"], "own folder"),
        (["--input", "a=nosuch.j2", "echo"], "cannot be read"),
        (["--here", "--input", "a=t.j2", "echo"], "--here"),
        (["--push", "t.j2", "--input", "t.j2=t.j2", "echo"], "shipped, and made"),
    ],
)
def test_an_input_that_cannot_be_is_refused(corral: Corral, words: list[str], said: str) -> None:
    corral.write("t.j2", "x")
    assert said in corral("run", *words, code=2).stderr


def test_jinja2_is_imported_only_for_templates(corral: Corral) -> None:
    corral.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    assert "jinja2" not in corral("run", "echo {1..2}").stderr
