"""Where in a TOML file does a key or a value stand?

The standard parser tells no places, so the file is read statement by statement: lines are taken
until they parse alone. That is done only to show an error.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from corral import columns
from corral.errors import UsageError
from corral.model.base import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Path = tuple[str, ...]  # of keys, from the top


class Problem(Frozen, frozen=True, kw_only=True):
    """Something wrong in a file."""

    path: tuple[str, ...]  # the key it is about, from the top
    what: str
    hint: str
    value: str | None = None  # the text in it that is wrong; None = the key itself is
    offset: int = 0  # of the place in that text


class Statement(Frozen, frozen=True, kw_only=True):
    """Some lines that parse alone: a table's head, or a key with its value."""

    line: int  # its first, from 1
    text: str
    table: tuple[str, ...]  # the table it stands in
    says: dict[str, object]


class Place(Frozen, frozen=True, kw_only=True):
    """A place in a file, from 1, and how wide it is."""

    line: int
    column: int
    width: int


def error(text: str, file: str, problems: Sequence[Problem]) -> UsageError:
    """Make one error of all problems of a file, as a compiler shows them, in the file's order."""
    statements = list(_statements(text))
    lines = text.split("\n")
    found = [(_place(statements, problem), problem) for problem in problems]
    found.sort(key=lambda pair: (pair[0].line, pair[0].column))
    shown = [_show(lines, file, place, problem) for place, problem in found]
    count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
    return UsageError("\n".join(shown), hint=f"{count}; nothing was started")


def _show(lines: Sequence[str], file: str, place: Place, problem: Problem) -> str:
    line, before = lines[place.line - 1], place.column - 1
    wide = columns.width(line[before : before + place.width])
    mark = columns.blank(line[:before]) + "^" * max(1, wide)
    head = f"{file}:{place.line}:{place.column}: {problem.what}"
    return f"{head}\n  {line}\n  {mark} {problem.hint}"


def _place(statements: Sequence[Statement], problem: Problem) -> Place:
    """Find the first statement that says a key, and in it the key, or the value that is wrong."""
    statement = next((one for one in statements if _says(one, problem.path)), None)
    if statement is None:
        return Place(line=1, column=1, width=1)
    start, width = _key(statement, problem.path[-1])
    if problem.value is not None:
        quoted = re.compile(rf"""["']{re.escape(problem.value)}["']""")
        if match := quoted.search(statement.text, start + width):
            start, width = match.start() + 1, len(problem.value)
    if problem.offset:
        start, width = start + problem.offset, 1
    before = statement.text[:start]
    line = statement.line + before.count("\n")
    return Place(line=line, column=start - before.rfind("\n"), width=max(1, width))


def _says(statement: Statement, path: Path) -> bool:
    """Say whether a statement, in its table, says something about a key."""
    value: object = _nested(statement.table, statement.says)
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


def _nested(table: Path, says: dict[str, object]) -> dict[str, object]:
    for key in reversed(table):
        says = {key: says}
    return says


def _key(statement: Statement, key: str) -> tuple[int, int]:
    """Find where a key is written, and how wide; the statement's start if it has escapes in it."""
    pattern = rf"""(?<![\w-])({re.escape(key)})["']?\s*(?:=|\]|\.)"""
    match = re.search(pattern, statement.text)
    return (match.start(1), len(key)) if match else (0, 1)


def _statements(text: str) -> Iterator[Statement]:
    lines = text.split("\n")
    table: Path = ()
    start = 0
    while start < len(lines):
        end, says = _statement(lines, start)
        head = lines[start].lstrip().startswith("[")
        if head:
            table = tuple(_keys(says))
        if says:
            yield Statement(
                line=start + 1,
                text="\n".join(lines[start:end]),
                table=() if head else table,
                says=says,
            )
        start = end


def _statement(lines: Sequence[str], start: int) -> tuple[int, dict[str, object]]:
    """Take lines until they parse; one that never does (it cannot be, in a good file) is alone."""
    for end in range(start + 1, len(lines) + 1):
        try:
            return end, tomllib.loads("\n".join(lines[start:end]))
        except tomllib.TOMLDecodeError:
            continue
    return start + 1, {}


def _keys(head: dict[str, object]) -> Iterator[str]:
    """Read the path in a table's head: ``{'hosts': {'n1': {}}}``."""
    value: object = head
    while isinstance(value, dict) and value:
        (key, value), *_ = value.items()
        yield key
