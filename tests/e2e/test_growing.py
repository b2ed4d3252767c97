"""Runs repeat and grow, in every form of input.

A `Form` is a way to say that some values are wanted; the laws hold for all of them. Every task
shows its value and the file that belongs to it, and ends when the file ``$GO`` is there.
"""

from __future__ import annotations

import json
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.wait import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from tests.support.corral import Corral

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(60),  # several commands each, on a machine that is shared
]
FEW, MORE = ("b", "c"), ("a", "b", "c", "d")
WAIT = "until test -e $GO; do sleep 0.02; done"


class Form(NamedTuple):
    """A way to say values."""

    name: str
    words: Callable[[Sequence[str]], Sequence[str]]
    files: Callable[[Sequence[str]], dict[str, str]] = lambda _: {}
    stdin: Callable[[Sequence[str]], str] = lambda _: ""
    inputs: bool = True  # each value has a file that is shipped to its task only


def line(value: str = "{v}") -> str:
    return f"echo is {value}; cat {{<data/{value}.txt}}; {WAIT}"


def lines(values: Sequence[str]) -> str:
    return "".join(f"{value}\n" for value in values)


def shown(value: str) -> str:
    """What a task prints."""
    return f"is {value}\nfile {value}\n"


def braces(values: Sequence[str]) -> list[str]:
    return [f"echo is {{v={','.join(values)}}}; cat {{<data/{{v}}.txt}}; {WAIT}"]


def run_file(values: Sequence[str]) -> dict[str, str]:
    return {"it.toml": f"run = {json.dumps(line())}\nsweep.v = {json.dumps(list(values))}\n"}


def template(values: Sequence[str]) -> dict[str, str]:
    run = f"echo is {{v}}; cat made.txt {{<data/{{v}}.txt}}; {WAIT}"
    text = f"run = {json.dumps(run)}\nsweep.v = {json.dumps(list(values))}\n"
    return {"it.toml": f'{text}[inputs]\n"made.txt" = "made.j2"\n', "made.j2": "{# nothing #}"}


FORMS = (
    Form("list in braces", braces),
    Form("-p", lambda vs: ["-p", f"v={','.join(vs)}", line()]),
    Form("run file", lambda _: ["it.toml"], run_file),
    Form("run file with templates", lambda _: ["it.toml"], template),
    Form("@file", lambda _: ["-p", "v=@l.txt", line()], lambda vs: {"l.txt": lines(vs)}),
    Form("@-", lambda _: ["-p", "v=@-", line()], stdin=lines),
    Form(":::", lambda vs: [line("{1}"), ":::", *vs]),
    Form("::::", lambda _: [line("{1}"), "::::", "l.txt"], lambda vs: {"l.txt": lines(vs)}),
    Form(
        "--arg-file",
        lambda _: ["--arg-file", "l.txt", line("{}")],
        lambda vs: {"l.txt": lines(vs)},
    ),
    Form(":::+", lambda vs: [f": {{2}}; {line('{1}')}", ":::", *vs, ":::+", *vs]),
    Form("--zip", lambda vs: ["--zip", f": {{2}}; {line('{1}')}", ":::", *vs, ":::", *vs]),
    Form("CSV", lambda _: ["--params", "t.csv", line()], lambda vs: {"t.csv": f"v\n{lines(vs)}"}),
    Form("TSV", lambda _: ["--params", "t.tsv", line()], lambda vs: {"t.tsv": f"v\n{lines(vs)}"}),
    Form(
        "JSON Lines",
        lambda _: ["--params", "t.jsonl", line()],
        lambda vs: {"t.jsonl": lines([json.dumps({"v": v}) for v in vs])},
    ),
    Form("--where", lambda vs: ["--where", f"v in {list(vs)}", "-p", "v=a,b,c,d,e", line()]),
    Form("--limit", lambda vs: ["--limit", str(len(vs)), "-p", f"v={','.join(vs)}", line()]),
    Form(
        "files of a pattern",
        lambda vs: [f"echo is {{f.stem}}; cat {{f=data/[{''.join(vs)}].txt}}; {WAIT}"],
    ),
    Form(
        "::: files",
        lambda vs: [f"echo is {{/.}}; cat {{}}; {WAIT}", ":::", *(f"data/{v}.txt" for v in vs)],
    ),
    Form(
        "-f",
        lambda _: ["-f", "cmds.txt"],
        lambda vs: {"cmds.txt": lines([f"echo is {v}; echo file {v}; {WAIT}" for v in vs])},
        inputs=False,
    ),
)


OTHERWISE = (  # forms whose values are read, kept or shipped in a way of their own
    "list in braces", "run file with templates", "@-", ":::+", "CSV", "--limit",
    "files of a pattern", "-f",
)  # fmt: skip
at_once = pytest.mark.parametrize(  # of what happens in the store, where a form is forgotten
    "form",
    [form for form in FORMS if form.name in OTHERWISE],
    indirect=True,
    ids=attrgetter("name"),
)


@pytest.fixture(params=FORMS, ids=attrgetter("name"))
def form(request: pytest.FixtureRequest) -> Form:
    found: Form = request.param
    return found


class Folder:
    """A folder in which a form's commands run."""

    def __init__(self, corral: Corral, form: Form) -> None:
        self.corral = corral
        self.form = form
        self.go = corral.folder / "go"
        corral.environment["GO"] = str(self.go)
        for value in MORE:
            corral.write(f"data/{value}.txt", f"file {value}\n")

    def run(self, values: Sequence[str]) -> str:
        """Run the command for these values; gives what it said."""
        said = self.corral("run", *self._words(values), stdin=self.form.stdin(values))
        return said.stderr

    def start(self, values: Sequence[str]) -> subprocess.Popen[str]:
        return self.corral.start("run", *self._words(values), stdin=self.form.stdin(values))

    def output(self) -> str:
        return self.corral.output("it")

    def table(self) -> list[tuple[str, ...]]:
        """Give results.csv without the tasks' numbers and the circumstances."""
        return [
            tuple(cell for name, cell in row.items() if name not in CIRCUMSTANCES)
            for row in self.corral.rows("it")
        ]

    def starts(self) -> int:
        return len(self.corral.rows("it", "attempts.csv"))

    def _words(self, values: Sequence[str]) -> list[str]:
        for name, text in self.form.files(values).items():
            self.corral.write(name, text)
        return ["--name", "it", *self.form.words(values)]


CIRCUMSTANCES = ("task", "seconds", "peak_mb", "host", "attempt")


def expected(values: Sequence[str]) -> str:
    return "".join(shown(value) for value in values)


def end(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    return said


def test_growing_equals_fresh_but_for_the_numbers(corral: Corral, form: Form) -> None:
    fresh = Folder(type(corral)(corral.folder / "fresh"), form)
    fresh.go.touch()
    corral.folder /= "grown"  # side by side: each has a state folder of its own
    grown = Folder(corral, form)
    grown.go.touch()
    grown.run(FEW)
    assert grown.output() == expected(FEW)
    assert "2 kept, 2 new" in grown.run(MORE)
    fresh.run(MORE)
    assert grown.output() == fresh.output() == expected(MORE)
    assert grown.table() == fresh.table()
    assert sorted(row["task"] for row in corral.rows("it")) == ["1", "2", "3", "4"]


def test_a_changed_input_makes_only_its_task_fresh(corral: Corral, form: Form) -> None:
    folder = Folder(corral, form)
    folder.go.touch()
    folder.run(MORE)
    corral.write("data/c.txt", "file changed\n")
    said = folder.run(MORE)
    if not form.inputs:
        assert "4 kept, nothing to do" in said
        return
    assert "3 kept, 1 again" in said
    assert folder.output() == expected(MORE).replace("file c", "file changed")
    assert folder.starts() == 5


@at_once
def test_two_commands_at_once_start_no_task_twice(corral: Corral, form: Form) -> None:
    folder = Folder(corral, form)
    folder.go.touch()
    both = [folder.start(MORE), folder.start(MORE)]
    for process in both:
        end(process)
    assert folder.starts() == 4
    assert folder.output() == expected(MORE)


@at_once
def test_a_running_run_takes_new_values(corral: Corral, form: Form) -> None:
    folder = Folder(corral, form)
    first = folder.start(FEW)
    wait_until(lambda: running(corral), seconds=15, what="the first tasks run")
    second = folder.start(MORE)
    wait_until(lambda: tasks(corral) == 4, seconds=15, what="the new values are in")
    folder.go.touch()
    assert "another command" not in end(first)  # the second names all of the first's
    assert "2 kept, 2 new" in end(second)
    assert folder.starts() == 4
    assert folder.output() == expected(MORE)


def running(corral: Corral) -> bool:
    done = corral("status", "it", "--json", code=None)
    return done.returncode == 0 and json.loads(done.stdout)["run"]["counts"]["active"] > 0


def tasks(corral: Corral) -> int:
    found: int = corral.json("status", "it")["run"]["tasks"]
    return found


def gated(values: str) -> list[str]:
    return ["run", "--here", f"until test -e go; do sleep 0.02; done; echo {{n={values}}}"]


def test_what_is_begun_is_not_called_done(corral: Corral) -> None:
    corral("run", "-d", *gated("1..4")[1:])
    second = corral.start(*gated("1..4"))
    wait_until(lambda: len(corral.json("why")["events"]) > 1, what="the second is taken in")
    corral.write("go", "")
    _, said = second.communicate(timeout=20)
    assert ": 4 tasks, 4 kept, 4 to do\n" in said
    assert "until: 4 tasks, 4 kept, nothing to do\n" in corral(*gated("1..4")).stderr


def test_who_is_followed_no_more_is_told(corral: Corral) -> None:
    first = corral.start(*gated("1..9"))
    wait_until(lambda: corral.master() and corral.json("ls")["runs"], what="the first is taken in")
    second = corral.start(*gated("1..2"))
    wait_until(lambda: corral.json("status")["run"]["tasks"] == 2, what="so is the second")
    corral.write("go", "")
    said = [run.communicate(timeout=20)[1] for run in (first, second)]
    assert "another command has taken its place, which names 2 tasks" in said[0]
    assert "another command" not in said[1]
    assert "until: 9 tasks, 2 kept, 7 again\n" in corral(*gated("1..9")).stderr
