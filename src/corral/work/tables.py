"""What does a file of settings say? CSV, TSV or JSON Lines: a row a task, a column a parameter."""

from __future__ import annotations

import csv
import json
import posixpath
import re
from itertools import chain, compress, islice
from operator import not_
from typing import TYPE_CHECKING, Any

import msgspec

from corral.errors import UsageError
from corral.model import texts
from corral.model.command import Listed
from corral.work import axes, repeats

if TYPE_CHECKING:
    import _csv
    from collections.abc import Iterable, Iterator, Sequence

    from corral.work.axes import Folder

FIELD = 1 << 20  # characters of one field
_LINES = (".jsonl", ".ndjson", ".json")
_WRITE = "a header of names, then a row a task"
_LIKE = 'a line is like {"T": 1.5, "L": 16}'


def read(path: str, folder: Folder, notes: list[str]) -> list[Listed]:
    """Give the columns of a table as axes that turn together.

    Raises:
        UsageError: It cannot be read, or is no table; with the line.
    """
    columns = _parse(path, axes.read_text(path, folder))
    if not columns or not len(columns[0]):
        raise UsageError(f"{path}: holds no row", hint=_WRITE)
    columns = _own(path, columns, notes)
    names = [column.name for column in columns]
    for name in names:
        _check_name(path, name, names)
    return columns


def _parse(path: str, text: str) -> list[Listed]:
    ending = posixpath.splitext(path)[1].lower()
    if ending in _LINES or (ending not in (".csv", ".tsv") and text.lstrip().startswith("{")):
        return _json_lines(path, text)
    first = text.partition("\n")[0]
    tabs = ending == ".tsv" or (ending != ".csv" and "\t" in first)
    return _separated(path, text, "\t" if tabs else ",")


def _columns(path: str, names: Sequence[str], rows: Iterator[Sequence[str]]) -> list[Listed]:
    """Turn rows into columns, a block at a time."""
    writers = [texts.Writer() for _ in names]
    while block := list(islice(rows, texts.BLOCK)):
        for writer, values in zip(writers, zip(*block, strict=True), strict=True):
            writer.add(values)
    return [
        Listed(name=name, text=f"{path}:{name}", kind="file", written=writer.done())
        for name, writer in zip(names, writers, strict=True)
    ]


def _separated(path: str, text: str, delimiter: str) -> list[Listed]:
    reader = csv.reader(axes.lines(text), delimiter=delimiter, strict=True)
    csv.field_size_limit(FIELD)
    try:
        names = [name.strip() for name in next(reader, [])]
        return _columns(path, names, _rows(path, names, reader))
    except csv.Error as error:
        raise UsageError(f"{path}:{reader.line_num}: {error}", hint=_WRITE) from error


def _rows(path: str, names: Sequence[str], reader: _csv.Reader) -> Iterator[list[str]]:
    for row in reader:
        if row and len(row) != len(names):
            raise UsageError(
                f"{path}:{reader.line_num}: {_count(len(row), 'value')} for "
                f"{_count(len(names), 'column')}",
                hint=f"the columns are {', '.join(names)}; quote a value that has a comma",
            )
        if row:
            yield row


def _json_lines(path: str, text: str) -> list[Listed]:
    objects = _objects(path, text)
    first = next(objects, {})
    names = list(first)
    rows = (tuple(row[name] for name in names) for row in chain([first], objects))
    return _columns(path, names, rows)


def _objects(path: str, text: str) -> Iterator[dict[str, str]]:
    names: set[str] = set()
    for number, line in enumerate(axes.lines(text), 1):
        if not line.strip():
            continue
        row = _json_object(f"{path}:{number}", line)
        names = names or set(row)
        if row.keys() != names:
            odd = ", ".join(sorted(row.keys() ^ names))
            raise UsageError(
                f"{path}:{number}: other names than in the lines before: {odd}",
                hint="every line has the same names",
            )
        yield row


def _json_object(where: str, line: str) -> dict[str, str]:
    """Read a line; numbers keep the text that they have."""
    try:
        found = json.loads(
            line, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_named_once
        )
    except json.JSONDecodeError as error:
        what = f"{error.msg[:1].lower()}{error.msg[1:]}"
        raise UsageError(f"{where}:{error.colno}: {what}", hint=_LIKE) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: {error}", hint=_LIKE) from error
    if not isinstance(found, dict):
        raise UsageError(f"{where}: is no object", hint=_LIKE)
    return {name: _json_text(where, value) for name, value in found.items()}


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object, as `json` does; but of two values of a name it would take the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two values are called {twice}")
    return found


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


def _own(path: str, columns: list[Listed], notes: list[str]) -> list[Listed]:
    """Of a table that corral wrote (results.csv, failed.csv), take its parameters, each setting once."""
    names = [column.name for column in columns]
    if names[:1] != ["task"] or "rep" not in names:
        return columns
    stop = names.index("rep")
    if stop == 1:
        raise UsageError(f"{path}: has no parameters", hint="corral retry repeats failed tasks")
    notes.append(f"{path}: corral's own table, of which only {', '.join(names[1:stop])} are taken")
    return _each_once(columns[1:stop])


def _each_once(columns: list[Listed]) -> list[Listed]:
    readers = [column.reader() for column in columns]
    equal = repeats.find(len(columns[0]), lambda row: tuple([read(row) for read in readers]))
    if equal is None:
        return columns
    return [
        msgspec.structs.replace(
            column, written=texts.written(compress(column.values, map(not_, equal.before)))
        )
        for column in columns
    ]


def _check_name(path: str, name: str, names: Iterable[str]) -> None:
    if not re.fullmatch(r"[A-Za-z_]\w*", name) or name == "ticket":
        better = re.sub(r"\W+", "_", name).strip("_") or "x"
        hint = f"rename the column, perhaps {better if better[:1].isalpha() else f'x{better}'}"
        raise UsageError(f"{path}: {name!r} is no name for a parameter", hint=hint)
    if list(names).count(name) > 1:
        raise UsageError(f"{path}: two columns are called {name}", hint="rename one")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
