"""What does a file of settings say? CSV, TSV or JSON Lines: a row a task, a column a parameter."""

from __future__ import annotations

import csv
import json
import posixpath
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from corral.errors import UsageError
from corral.model.command import Listed
from corral.work import axes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from corral.work.axes import Folder

FIELD = 1 << 20  # characters of one field
_LINES = (".jsonl", ".ndjson", ".json")
_WRITE = "a header of names, then a row a task"


class _Table(NamedTuple):
    names: list[str]
    rows: list[tuple[str, ...]]


def read(path: str, folder: Folder, notes: list[str]) -> list[Listed]:
    """Give the columns of a table as axes that turn together.

    Raises:
        UsageError: It cannot be read, or is no table; with the line.
    """
    table = _parse(path, axes.read_text(path, folder))
    if not table.rows:
        raise UsageError(f"{path}: holds no row", hint=_WRITE)
    names, rows = _own(path, table, notes)
    for name in names:
        _check_name(path, name, names)
    return [
        Listed(name=name, text=f"{path}:{name}", kind="file", values=values)
        for name, values in zip(names, zip(*rows, strict=True), strict=True)
    ]


def _parse(path: str, text: str) -> _Table:
    ending = posixpath.splitext(path)[1].lower()
    if ending in _LINES or (ending not in (".csv", ".tsv") and text.lstrip().startswith("{")):
        return _json_lines(path, text)
    first = text.partition("\n")[0]
    tabs = ending == ".tsv" or (ending != ".csv" and "\t" in first)
    return _separated(path, text, "\t" if tabs else ",")


def _separated(path: str, text: str, delimiter: str) -> _Table:
    reader = csv.reader(_lines(text), delimiter=delimiter, strict=True)
    csv.field_size_limit(FIELD)
    try:
        names = [name.strip() for name in next(reader, [])]
        rows: list[tuple[str, ...]] = []
        for row in reader:
            if not row:
                continue
            if len(row) != len(names):
                raise UsageError(
                    f"{path}:{reader.line_num}: {_count(len(row), 'value')} for "
                    f"{_count(len(names), 'column')}",
                    hint=f"the columns are {', '.join(names)}; quote a value that has a comma",
                )
            rows.append(tuple(row))
    except csv.Error as error:
        raise UsageError(f"{path}:{reader.line_num}: {error}", hint=_WRITE) from error
    return _Table(names, rows)


def _lines(text: str) -> Iterator[str]:
    r"""Cut at ``\n`` alone, as the csv module wants it: other line ends may be part of a value."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def _json_lines(path: str, text: str) -> _Table:
    names: list[str] = []
    rows: list[tuple[str, ...]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        row = _json_object(f"{path}:{number}", line)
        names = names or list(row)
        if sorted(row) != sorted(names):
            odd = ", ".join(sorted(row.keys() ^ set(names)))
            raise UsageError(
                f"{path}:{number}: other names than in the lines before: {odd}",
                hint="every line has the same names",
            )
        rows.append(tuple(row[name] for name in names))
    return _Table(names, rows)


def _json_object(where: str, line: str) -> dict[str, str]:
    """Read a line; numbers keep the text that they have."""
    try:
        found = json.loads(line, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: {error}", hint='a line is like {"T": 1.5, "L": 16}') from error
    if not isinstance(found, dict):
        raise UsageError(f"{where}: is no object", hint='a line is like {"T": 1.5, "L": 16}')
    return {name: _json_text(where, value) for name, value in found.items()}


def _json_text(where: str, value: Any) -> str:
    match value:
        case str():
            axes.check_text(value, f"{where}: a value")
            return value
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case _:
            raise UsageError(f"{where}: a list or object is no value", hint="write it as a text")


def _own(path: str, table: _Table, notes: list[str]) -> tuple[list[str], Sequence[tuple[str, ...]]]:
    """Of a table that corral wrote (results.csv, failed.csv), take its parameters, each setting once."""
    names = table.names
    if names[:1] != ["task"] or "rep" not in names:
        return names, table.rows
    stop = names.index("rep")
    rows = list(dict.fromkeys(row[1:stop] for row in table.rows))
    if stop == 1:
        raise UsageError(f"{path}: has no parameters", hint="corral retry repeats failed tasks")
    notes.append(f"{path}: corral's own table, of which only {', '.join(names[1:stop])} are taken")
    return names[1:stop], rows


def _check_name(path: str, name: str, names: Iterable[str]) -> None:
    if not re.fullmatch(r"[A-Za-z_]\w*", name) or name == "ticket":
        better = re.sub(r"\W+", "_", name).strip("_") or "x"
        hint = f"rename the column, perhaps {better if better[:1].isalpha() else f'x{better}'}"
        raise UsageError(f"{path}: {name!r} is no name for a parameter", hint=hint)
    if list(names).count(name) > 1:
        raise UsageError(f"{path}: two columns are called {name}", hint="rename one")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
