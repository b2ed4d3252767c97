"""The table of cases in docs/grammar.md: read from the page, executed for real.

Each row is typed in a folder that holds `FILES`. Its first and last task run for real, by a shell
or without one, each in a folder of its own that holds what was shipped and nothing else; the
program ``show`` prints the words it was given, each in square brackets.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from corral.cli.folder import RealFolder
from corral.errors import UsageError
from corral.model.command import Choice
from corral.work.command import Parsed, parse
from corral.work.render import SLOT_MARK, Renderer, Setting, place
from corral.work.sources import Source, Ways, split
from corral.work.sweep import Sweep

PAGE = Path(__file__).parents[2] / "docs" / "grammar.md"
FILES = {
    "d/1.txt": "one\n",
    "d/2.txt": "two\n",
    "d/.hidden.txt": "no\n",
    "pages/a b.pdf": "x",
    "pages/c.pdf": "x",
    "config.yaml": "x",
    "runs/a/seed": "1\n",
    "runs/b/seed": "2\n",
    "tools/gen.py": "import sys; print(*(f'[{w}]' for w in sys.argv[1:]))\n",
    "sim.py": "import sys; print(*(f'[{w}]' for w in sys.argv[1:]))\n",
    "list.txt": "first\r\n\r\nlast value",
    "empty.txt": "",
    "nul.txt": "a\0b\n",
    "my.sh": 'echo "$0 $1"\n',
    "t.csv": 'T,what\n1,"a, b"\n2,c\n',
    "t.tsv": "T\twhat\n1\ta b\n",
    "t.jsonl": '{"T": 1.50, "what": "it\'s"}\n\n{"what": true, "T": null}\n',
    "bad.csv": "T,what\n1,2,3\n",
    "cmds.txt": "# first\nshow a {task}\n\nshow 'b c' | cat\n./sim {rep} {a,b}\n",
    "count.txt": "3x show {task}\nshow once\n0x show never\n",
    "sim": '#!/bin/sh\necho "$0 $*"\n',
}
FLAGS = ("--counts", "--axes", "--plain", "--zip")
VALUED = (
    "-p",
    "-r",
    "--output",
    "--arg-file",
    "--params",
    "-f",
    "-I",
    "--where",
    "--limit",
    "--shuffle",
)
PROGRAMS = ("sim", "tools/gen.py")
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
    tasks: str  # how many, or "error", and at which column
    result: str  # what the first and the last task print; of an error, its first line
    notes: str  # what the preview tells


def read() -> list[Case]:
    """Read the rows of the page."""
    rows = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if not re.match(r"\| *\d+ *\|", line):
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        plain = [cell.replace("\\|", "|") for cell in cells]
        number, form, options, typed, tasks, result, notes = plain[:7]
        rows.append(
            Case(int(number), form, _code(options), _code(typed), tasks, _code(result), notes)
        )
    return rows


def lay_out(folder: Path) -> None:
    """Put the files of the cases into ``folder/here``, and ``show`` into ``folder/bin``."""
    for name, text in FILES.items():
        path = folder / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name in PROGRAMS else 0o644)
    (folder / "bin").mkdir()
    (folder / "bin" / "show").write_text(SHOW)
    (folder / "bin" / "show").chmod(0o755)


def understand(case: Case, folder: Path) -> Parsed | UsageError:
    """Read what is typed, as ``corral run`` does."""
    given = _options(shlex.split(case.options))
    try:
        words, sources = split(_words(case))
        return parse(
            words,
            folder=RealFolder(folder / "here"),
            declared={name: text for name, _, text in (p.partition("=") for p in given["-p"])},
            reps=int(given["-r"][-1]),
            outputs=given["--output"],
            ways=Ways(
                sources=(*(Source(file=name) for name in given["--arg-file"]), *sources),
                params=tuple(given["--params"]),
                commands=given["-f"][-1] if given["-f"] else None,
                counts="--counts" in given,
                axes="--axes" in given,
                plain="--plain" in given,
                zip="--zip" in given,
                mark=given["-I"][-1] if given["-I"] else None,
                choice=Choice(
                    where="".join(given["--where"][-1:]),
                    limit=int(given["--limit"][-1]) if given["--limit"] else None,
                    shuffle=int(given["--shuffle"][-1]) if given["--shuffle"] else None,
                ),
            ),
        )
    except UsageError as error:
        return error


def _words(case: Case) -> list[str]:
    """Give the words of a case; of a line, what follows ``:::`` is words as well."""
    if case.form == "V":
        return shlex.split(case.typed)
    match = re.search(r" :::.*", case.typed)
    line = case.typed[: match.start()] if match else case.typed
    words = [line.replace("⏎", "\n")] if case.typed or "-f" not in case.options else []
    return [*words, *shlex.split(match[0] if match else "")]


def _options(words: list[str]) -> dict[str, list[str]]:
    """Read the options of a case: all take a value but `FLAGS`."""
    given: dict[str, list[str]] = {option: [] for option in VALUED} | {"-r": ["1"]}
    left = iter(words)
    for word in left:
        name, joined, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name in FLAGS:
            given[name] = []
        else:
            given[name].append(value if joined else next(left))
    return given


def execute(case: Case, folder: Path) -> tuple[str, str, str]:
    """Carry a case out; gives (tasks, result, notes) in the words of the page."""
    parsed = understand(case, folder)
    if isinstance(parsed, UsageError):
        where = "" if parsed.column is None else f" at {parsed.column}"
        return f"error{where}", parsed.message, ""
    sweep = Sweep.of(parsed.command)
    ends = [0] if len(sweep) == 1 else [0, len(sweep) - 1]
    printed = [_run(parsed, sweep, index, folder) for index in ends]
    return str(len(sweep)), " … ".join(printed), "; ".join(parsed.notes)


def _run(parsed: Parsed, sweep: Sweep, index: int, folder: Path) -> str:
    row = sweep[index]
    renderer = Renderer(parsed.command)
    rendered = renderer.render(Setting(row.values, row.rep, row.k, index + 1, "t-1", "node1", 1))
    argv = (
        list(rendered.argv) if rendered.argv is not None else ["/bin/sh", "-c", rendered.line or ""]
    )
    argv = [word.replace(SLOT_MARK, "0") for word in argv]
    own = folder / f"task{index + 1}"
    own.mkdir()
    for source in (*parsed.ship, *(file.source for file in rendered.inputs)):
        (own / place(source)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "here" / source, own / place(source))
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        argv,
        cwd=own,
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
