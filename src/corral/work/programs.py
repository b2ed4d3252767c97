"""Which words of a command are files that must travel: its program, the script of an interpreter?

Only what is easily seen: the words of one simple command, as the shell would hand them on.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from corral.model.base import Frozen
from corral.work.words import KEYWORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LEFT = " is here and not shipped: "  # what a note says of a file, before it says how to ship it

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_WRAPPERS = frozenset(
    [
        "chrt",
        "command",
        "env",
        "exec",
        "ionice",
        "mpiexec",
        "mpirun",
        "nice",
        "nohup",
        "numactl",
        "prlimit",
        "setsid",
        "srun",
        "stdbuf",
        "strace",
        "taskset",
        "time",
        "timeout",
        "xargs",
        "xvfb-run",
    ]
)
_SOURCE = (".", "source")


class _Options(Frozen, frozen=True, kw_only=True):
    """The letters among an interpreter's options that matter for finding its script."""

    code: str = ""  # the program is the next word, or the rest of this one: there is no script
    value: str = ""  # takes the rest of the word, or else the next word
    rest: str = ""  # takes the rest of the word
    long_code: tuple[str, ...] = ()
    long_value: tuple[str, ...] = ()


_SHELL = _Options(code="c", value="oO", long_value=("--rcfile", "--init-file"))
_INTERPRETERS = (
    (re.compile(r"(python|pypy)[\d.]*"), _Options(code="cm", value="WX")),
    (re.compile(r"(ba|da|k|z)?sh"), _SHELL),
    (re.compile(r"perl[\d.]*"), _Options(code="eE", value="I", rest="MmiF0CDxl")),
    (re.compile(r"ruby[\d.]*"), _Options(code="e", value="IrC", rest="EFiKTWx0")),
    (
        re.compile(r"node(js)?"),
        _Options(
            code="ep",
            value="rC",
            long_code=("--eval", "--print"),
            long_value=("--require", "--import", "--loader"),
        ),
    ),
    (re.compile(r"Rscript"), _Options(code="e")),
    (
        re.compile(r"julia[\d.]*"),
        _Options(code="eE", value="ptLJCH", long_code=("--eval", "--print")),
    ),
    (re.compile(r"lua(jit)?[\d.]*"), _Options(value="el")),
    (
        re.compile(r"octave(-cli)?"),
        _Options(value="p", long_code=("--eval",), long_value=("--path",)),
    ),
)


def travelling(words: Sequence[str], is_ours: Callable[[str], bool]) -> list[int]:
    """List the words of a simple command that name a file to ship; ``is_ours`` says which may."""
    at = _program(words)
    if at is None:
        return []
    program, rest = words[at], words[at + 1 :]
    found = [at] if "/" in program and is_ours(program) else []
    if posixpath.basename(program) in _WRAPPERS:
        inner = _wrapped(rest, is_ours)
        return found + [at + 1 + index for index in inner]
    script = _script(posixpath.basename(program), rest)
    if script is not None and is_ours(rest[script]):
        found.append(at + 1 + script)
    return found


def looked_for(words: Sequence[str]) -> str | None:
    """Give the program that is looked for in PATH, None if the command names a path or nothing."""
    at = _program(words)
    return None if at is None or "/" in words[at] else words[at]


def _program(words: Sequence[str]) -> int | None:
    for at, word in enumerate(words):
        if word not in KEYWORDS and not _ASSIGNMENT.match(word):
            return at
    return None


def _wrapped(rest: Sequence[str], is_ours: Callable[[str], bool]) -> list[int]:
    """Find the program that another one starts: ``nice -n 5 ./sim``, ``env A=1 python3 sim.py``."""
    for at, word in enumerate(rest):
        name = posixpath.basename(word)
        if ("/" in word and is_ours(word)) or name == "java" or _options(name) or name in _WRAPPERS:
            return [at + index for index in travelling(rest[at:], is_ours)]
    return []


def _script(program: str, rest: Sequence[str]) -> int | None:
    """Say which of an interpreter's words is its script."""
    if program in _SOURCE:
        return 0 if rest else None
    if program == "java":
        at = rest.index("-jar") + 1 if "-jar" in rest else len(rest)
        return at if at < len(rest) else None
    options = _options(program)
    return None if options is None else _first_file(rest, options)


def _options(program: str) -> _Options | None:
    return next((options for name, options in _INTERPRETERS if name.fullmatch(program)), None)


def _first_file(rest: Sequence[str], options: _Options) -> int | None:
    at = 0
    while at < len(rest):
        word = rest[at]
        if word == "--":
            return at + 1 if at + 1 < len(rest) else None
        if not _is_option(word, options):
            return at
        taken = _taken(word, options)
        if taken is None:
            return None
        at += taken
    return None


def _is_option(word: str, options: _Options) -> bool:
    return word.startswith("-") or (options is _SHELL and word.startswith("+"))


def _taken(word: str, options: _Options) -> int | None:
    """Say how many words an option takes, itself included; None if it holds the program."""
    if word == "-":
        return None  # the program comes from stdin
    if word.startswith("--"):
        if word.partition("=")[0] in options.long_code:
            return None
        return 2 if word in options.long_value else 1
    for index, letter in enumerate(word[1:], 2):
        if letter in options.code:
            return None
        if letter in options.value:
            return 1 if index < len(word) else 2
        if letter in options.rest:
            return 1
    return 1
