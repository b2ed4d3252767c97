"""The table of cases in docs/grammar.md: read from the page, executed for real.

Each row's tasks are run by a real shell (or without one) in a folder that holds `FILES`; the
program ``show`` prints the words it was given, each in square brackets.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
from pathlib import Path
from typing import NamedTuple

from corral.cli.folder import RealFolder
from corral.errors import UsageError
from corral.work.command import parse
from corral.work.render import SLOT_MARK, Renderer, Setting
from corral.work.sweep import Sweep

PAGE = Path(__file__).parents[2] / "docs" / "grammar.md"
FILES = {
    "d/1.txt": "one\n",
    "d/2.txt": "two\n",
    "d/.hidden.txt": "no\n",
    "pages/a b.pdf": "x",
    "pages/c.pdf": "x",
    "config.yaml": "x",
    "sim.py": "import sys; print(*(f'[{w}]' for w in sys.argv[1:]))\n",
    "list.txt": "first\r\n\r\nlast value",
    "empty.txt": "",
}
SHOW = """#!/bin/sh
out=
for word in "$@"; do out="$out${out:+ }[$word]"; done
printf '%s\\n' "$out"
"""


class Case(NamedTuple):
    """A row: what is typed, and what it must come to."""

    number: int
    form: str  # S: one word, a shell line; V: several words
    options: str  # of corral run, before the command
    typed: str
    tasks: str  # how many, or "error"
    result: str  # what the first and the last task print; of an error, words of it


def read() -> list[Case]:
    """Read the rows of the page."""
    rows = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if not re.match(r"\| *\d+ *\|", line):
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        plain = [cell.replace("\\|", "|") for cell in cells]
        number, form, options, typed, tasks, result = plain[:6]
        rows.append(Case(int(number), form, _code(options), _code(typed), tasks, _code(result)))
    return rows


def lay_out(folder: Path) -> None:
    """Put the files of the cases, and ``show``, into a folder."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    program = folder / "show"
    program.write_text(SHOW)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def execute(case: Case, folder: Path) -> tuple[str, str]:
    """Carry a case out; gives (tasks, result) in the words of the page."""
    words = shlex.split(case.typed) if case.form == "V" else [case.typed.replace("⏎", "\n")]
    options = shlex.split(case.options)
    declared = {}
    reps = 1
    while options:
        flag, value = options.pop(0), options.pop(0)
        if flag == "-p":
            declared[value.partition("=")[0]] = value.partition("=")[2]
        else:
            reps = int(value)
    try:
        parsed = parse(words, folder=RealFolder(folder), declared=declared, reps=reps)
    except UsageError as error:
        return "error", error.message
    renderer = Renderer(parsed.command)
    sweep = Sweep(parsed.command.axes, reps)
    ends = [0] if len(sweep) == 1 else [0, len(sweep) - 1]
    printed = [_run(renderer, sweep, index, folder) for index in ends]
    return str(len(sweep)), " … ".join(printed)


def _run(renderer: Renderer, sweep: Sweep, index: int, folder: Path) -> str:
    row = sweep[index]
    rendered = renderer.render(Setting(row.values, row.rep, row.k, index + 1, "t-1", "node1", 1))
    argv = (
        list(rendered.argv) if rendered.argv is not None else ["/bin/sh", "-c", rendered.line or ""]
    )
    argv = [word.replace(SLOT_MARK, "0") for word in argv]
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(
        argv,
        cwd=folder,
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, (argv, done.stderr)
    outputs = "".join(f" >{output.name}" for output in rendered.outputs)
    return done.stdout.strip().replace("\n", "⏎") + outputs


def _code(cell: str) -> str:
    """Take the text out of a code span."""
    match = re.fullmatch(r"(`+) ?(.*?) ?\1", cell)
    return match[2] if match else cell
