"""Hostile values through every way to say them: the table that tests execute, locally and on hosts.

A `Form` is one way from a person's words to a program's argument. Each carries at most five values
of `VALUES`, taken in turn, as far as the form can hold them at all (no newline in a file of lines,
no ``/`` in a file's name). The program ``args`` prints what it got: the number of its arguments
and each of them, every one followed by a NUL byte.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
from itertools import cycle, islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ARGS = """#!/bin/sh
printf '%s\\0' "$#"
for word in "$@"; do printf '%s\\0' "$word"; done
"""
PER_FORM = 5
VALUES = (
    "two words", "it's", 'say "hi"', "$(touch pwned)", "`touch pwned`", "new\nline", "tab\there",
    "ünï→", "-n", "--help", "a;touch pwned", "a|b", "a&b", "\\", "\\n", "trailing ", " leading",
    "*", "?", "[a]", "~", "~root", "$HOME", "${HOME}", "!!", "#x", "{a,b}", "{1}", "{{x}}", "}",
    "{", "a=b", "=", "''", '""', "$'x'", "x\r", "\r", "\x1b[31m", "\x7f", "日本", "🙂", "e\u0301",
    "\u200b", "a\\'b", "%s", "(x)", "<in", ">out", "2>&1", "\n", "line\n", "a//b", "..", "\u202e",
    "&&touch pwned", "$((1+1))", "'\"'", "-", "--", "{task}", "{host}", "{rep}", "a,b", "\t", " ",
    "\\\n", "^", "%PATH%", "\u2028", "x'; touch pwned; '", '"; touch pwned; "', "$x", "@file", ":::",
)  # fmt: skip


class Form(NamedTuple):
    """One way to say values."""

    name: str
    holds: Callable[[str], bool]  # can a value be said so at all?
    words: Callable[[Sequence[str]], Sequence[str]]  # after `corral run`
    argv: Callable[[str], Sequence[str]]  # what the program must get for a value
    files: Callable[[Sequence[str]], dict[str, str]] = lambda _: {}
    stdin: Callable[[Sequence[str]], str] = lambda _: ""
    ordered: bool = True  # the tasks stand in the order of the values


class Case(NamedTuple):
    """A form with its values."""

    form: Form
    values: tuple[str, ...]

    @property
    def files(self) -> dict[str, str]:
        return self.form.files(self.values)

    @property
    def words(self) -> list[str]:
        return list(self.form.words(self.values))

    @property
    def stdin(self) -> str:
        return self.form.stdin(self.values)

    def expected(self) -> list[list[str]]:
        return [list(self.form.argv(value)) for value in self.values]


def understood(printed: bytes) -> list[list[str]]:
    """Read what ``args`` printed, task after task."""
    words = iter(printed.decode().split("\0")[:-1])
    return [list(islice(words, int(count))) for count in words]


# -------------------------------------------------------------------- what a form can hold


def anything(value: str) -> bool:
    return "\0" not in value


def a_line(value: str) -> bool:
    """A line of a file: CR at its end is a line end of another system, blank ones do not count."""
    return "\n" not in value and not value.endswith("\r") and value != ""


def a_command(value: str) -> bool:
    """Quoted in a line of a list, in which three braces mean something."""
    return a_line(value) and not any(b in value for b in ("{task}", "{ticket}", "{rep}"))


def a_parameter(value: str) -> bool:
    """After -p NAME=, where a comma, a pattern, a range or a file may stand."""
    return not any(c in value for c in ",*?[") and ".." not in value and value[:1] != "@"


def a_name(value: str) -> bool:
    """A file's name that a pattern finds."""
    return "/" not in value and value[:1] != "." and value != ""


def no_separator(value: str) -> bool:
    return value not in (":::", ":::+", "::::", "::::+")


# -------------------------------------------------------------------- the forms


def _toml(run: str, values: Sequence[str], more: str = "") -> dict[str, str]:
    listed = json.dumps(list(values), ensure_ascii=False).replace("\x7f", "\\u007F")
    return {"job.toml": f"run = '''{run}'''\n{more}\nsweep.v = {listed}\n"}


def _in_a_line(place: str, argv: Callable[[str], Sequence[str]]) -> Form:
    return Form(
        f"line: {place}",
        anything,
        lambda _: ["job.toml"],
        argv,
        lambda values: _toml(f"./args {place}", values),
    )


def _behind(name: str, words: Sequence[str], argv: Callable[[str], Sequence[str]]) -> Form:
    """Values behind ``:::``."""
    return Form(f"::: {name}", no_separator, lambda values: [*words, ":::", *values], argv)


def _lines(values: Sequence[str]) -> str:
    return "".join(f"{value}\n" for value in values)


def _from_lines(name: str, words: Sequence[str], argv: Callable[[str], Sequence[str]]) -> Form:
    """Values that are the lines of ``list.txt``."""
    return Form(name, a_line, lambda _: words, argv, lambda values: {"list.txt": _lines(values)})


def _table(values: Sequence[str], delimiter: str) -> str:
    text = io.StringIO()
    rows = csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    rows.writerow(["v", "n"])
    rows.writerows([value, number] for number, value in enumerate(values))
    return text.getvalue()


def _objects(values: Sequence[str]) -> str:
    return "".join(f"{json.dumps({'v': v})}\n" for v in values)


def _as_files(values: Sequence[str]) -> dict[str, str]:
    return {f"d/{value}": "x" for value in values}


def _command_lines(values: Sequence[str]) -> str:
    return "".join(f"./args {shlex.quote(value)} x\n" for value in values)


FORMS: tuple[Form, ...] = (
    _in_a_line("{v}", lambda v: [v]),
    _in_a_line("'{v}'", lambda v: [v]),
    _in_a_line('"{v}"', lambda v: [v]),
    _in_a_line('"$(printf %sx {v})"', lambda v: [f"{v}x"]),
    _in_a_line("\"$(printf %sx '{v}')\"", lambda v: [f"{v}x"]),
    _in_a_line('"$(printf %sx "{v}")"', lambda v: [f"{v}x"]),
    _in_a_line("x{v}y", lambda v: [f"x{v}y"]),
    _in_a_line("--opt={v}", lambda v: [f"--opt={v}"]),
    _in_a_line("'a {v} b'", lambda v: [f"a {v} b"]),
    _in_a_line('"a {v} b"', lambda v: [f"a {v} b"]),
    _in_a_line("{v} && true", lambda v: [v]),
    _in_a_line("$nothing{v}", lambda v: [v]),
    _in_a_line('"$nothing{v}"', lambda v: [v]),
    _in_a_line("{v}>{>out} && cat out", lambda v: [v]),
    _in_a_line("{v}{v}", lambda v: [v + v]),
    _in_a_line("{v} | cat", lambda v: [v]),
    Form(
        "line: in a loop",
        anything,
        lambda _: ["job.toml"],
        lambda v: ["1", v],
        lambda vs: _toml("for i in 1; do ./args $i {v}; done", vs),
    ),
    Form(
        "line: case",
        anything,
        lambda _: ["--push", "args", "job.toml"],
        lambda v: [v, "ok"],
        lambda vs: _toml('case {v} in "{v}") ./args {v} ok;; esac', vs),
    ),
    Form(
        "line: bash",
        anything,
        lambda _: ["--shell", "/bin/bash", "job.toml"],
        lambda v: [v, v],
        lambda vs: _toml('./args {v} "{v}"', vs),
    ),
    Form(
        "vector: sweep",
        anything,
        lambda _: ["job.toml"],
        lambda v: [v, f"x{v}"],
        lambda vs: {
            "job.toml": _toml("", vs)["job.toml"].replace(
                "run = ''''''", 'run = ["./args", "{v}", "x{v}"]'
            )
        },
    ),
    Form(
        "the environment",
        anything,
        lambda _: ["job.toml"],
        lambda v: [v],
        lambda vs: _toml('./args "$CORRAL_PARAM_v"; : {v}', vs),
    ),
    Form(
        "-p, line",
        a_parameter,
        lambda vs: ["-p", f"v={','.join(vs)}", "./args {v}"],
        lambda v: [v],
    ),
    Form(
        "-p, vector",
        a_parameter,
        lambda vs: ["-p", f"v={','.join(vs)}", "./args", "{v}", "-{v}"],
        lambda v: [v, f"-{v}"],
    ),
    _behind("appended to a line", ["./args"], lambda v: [v]),
    _behind("appended to words", ["./args", "a b"], lambda v: ["a b", v]),
    _behind("{} in a line", ["./args {} x"], lambda v: [v, "x"]),
    _behind("{} in quotes", ["./args '{}' \"{}\""], lambda v: [v, v]),
    _behind("{} in words", ["./args", "{}", "a{}b"], lambda v: [v, f"a{v}b"]),
    _behind("{1}", ["./args", "{1}", "{#}"], lambda v: [v, "#"]),
    _behind("--plain in a line", ["--plain", "-I", "XX", "./args XX '{}'"], lambda v: [v, "{}"]),
    _behind(
        "--plain in words", ["--plain", "-I", "XX", "./args", "XX", "{a,b}"], lambda v: [v, "{a,b}"]
    ),
    _behind("--plain appended", ["--plain", "./args {} {a,b}"], lambda v: ["{}", "{a,b}", v]),
    _behind("-I beside braces", ["-I", "@", "./args '@' {}"], lambda v: [v, v]),
    _behind("with replicates", ["-r1", "./args", "{}", "{rep}"], lambda v: [v, "1"]),
    Form(
        ":::+",
        no_separator,
        lambda vs: ["./args", "{1}", "{2}", ":::", *vs, ":::+", *vs],
        lambda v: [v, v],
    ),
    Form(
        "::: shuffled",
        no_separator,
        lambda vs: ["--shuffle", "./args", "{}", ":::", *vs],
        lambda v: [v],
        ordered=False,
    ),
    Form(
        "::: with --where",
        no_separator,
        lambda vs: ["--where", "arg1 != 'surely not'", "./args", "{}", ":::", *vs],
        lambda v: [v],
    ),
    Form(
        "--zip",
        no_separator,
        lambda vs: ["--zip", "./args", "{1}", "{2}", ":::", *vs, ":::", *vs],
        lambda v: [v, v],
    ),
    _from_lines("{@file}", ["./args {@list.txt}"], lambda v: [v]),
    _from_lines("{@file} in words", ["./args", "a{v=@list.txt}", "{v}"], lambda v: [f"a{v}", v]),
    _from_lines("-p @file", ["-p", "v=@list.txt", "./args '{v}'"], lambda v: [v]),
    _from_lines("::::", ["./args", "{}", "::::", "list.txt"], lambda v: [v]),
    _from_lines("--arg-file FILE", ["--arg-file", "list.txt", './args "{}"'], lambda v: [v]),
    _from_lines("--arg-file FILE appended", ["--arg-file", "list.txt", "./args"], lambda v: [v]),
    Form("{@-}", a_line, lambda _: ["./args {@-}"], lambda v: [v], stdin=_lines),
    Form(":::: -", a_line, lambda _: ["./args", "::::", "-"], lambda v: [v], stdin=_lines),
    Form(
        "--params CSV",
        anything,
        lambda _: ["--params", "t.csv", "./args {v}"],
        lambda v: [v],
        lambda vs: {"t.csv": _table(vs, ",")},
    ),
    Form(
        "--params TSV",
        anything,
        lambda _: ["--params", "t.tsv", "./args", "{v}"],
        lambda v: [v],
        lambda vs: {"t.tsv": _table(vs, "\t")},
    ),
    Form(
        "--params JSON Lines",
        anything,
        lambda _: ["--params", "t.jsonl", './args "{v}"'],
        lambda v: [v],
        lambda vs: {"t.jsonl": _objects(vs)},
    ),
    Form(
        "--params -",
        anything,
        lambda _: ["--params", "-", "./args '{v}'"],
        lambda v: [v],
        stdin=_objects,
    ),
    Form(
        "-f",
        a_command,
        lambda _: ["-f", "cmds.txt"],
        lambda v: [v, "x"],
        lambda vs: {"cmds.txt": _command_lines(vs)},
    ),
    Form(
        "-f with --counts",
        a_command,
        lambda _: ["--counts", "-f", "cmds.txt"],
        lambda v: [v, "x"],
        lambda vs: {
            "cmds.txt": "".join(f"1x {line}\n" for line in _command_lines(vs).splitlines())
        },
    ),
    Form(
        "-f through a shell",
        a_command,
        lambda _: ["-f", "cmds.txt"],
        lambda v: [v, "x"],
        lambda vs: {
            "cmds.txt": "".join(f"true && {x}\n" for x in _command_lines(vs).split("\n")[:-1])
        },
    ),
    Form(
        "files of a pattern",
        a_name,
        lambda _: ["./args {d/*}"],
        lambda v: [f"d/{v}"],
        _as_files,
    ),
    Form(
        "files of a pattern, parts",
        a_name,
        lambda _: ["./args", "{f=d/*}", "{f.name}", "{f.dir}"],
        lambda v: [f"d/{v}", v, "d"],
        _as_files,
    ),
    Form(
        "::: files",
        a_name,
        lambda vs: ["./args", "{}", "{/}", ":::", *(f"d/{v}" for v in vs)],
        lambda v: [f"d/{v}", v],
        _as_files,
    ),
    Form(
        "an input by its name",
        a_name,
        lambda _: ["job.toml"],
        lambda v: [f"d/{v}", "x"],
        lambda vs: _toml('./args {<d/{v}} "$(cat {<d/{v}})"', vs) | _as_files(vs),
    ),
    Form(
        "an output by its name",
        a_name,
        lambda _: ["job.toml"],
        lambda v: [f"o-{v}"],
        lambda vs: _toml("echo > {>o-{v}} && ./args {>o-{v}}", vs),
    ),
)


def cases() -> Iterator[Case]:
    """Give each form its values, so that all values come round."""
    pool = cycle(VALUES)
    for form in FORMS:
        chosen: list[str] = []
        while len(chosen) < PER_FORM:
            value = next(pool)
            if form.holds(value) and value not in chosen:
                chosen.append(value)
        if form.holds is a_name:  # a pattern gives the order of bytes
            chosen.sort(key=str.encode)
        yield Case(form, tuple(chosen))
