"""Which values stand in what a task wrote: ``k=v``, JSON, CSV with a header, the last number.

A value stays the text that the task wrote, so that no digit is lost. Several rows come from JSON
Lines, a JSON list of objects, or CSV of several lines; all else is one row.
"""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from corral.errors import UsageError
from corral.results import pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Values = dict[str, str]  # by name, in the order in which they were written

FORMS = ("kv", "json", "csv", "number")
LIMIT = 16 << 20  # bytes of a result that are looked at; of a longer one the end
LONE = "value"  # the name of a value that has none
DEEPEST = 64  # objects inside one another whose values are taken apart; a deeper one is a value

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LONE_NUMBER = re.compile(
    rf"(?<![\w.])(?:{_NUMBER}|[-+]?(?:nan|inf(?:inity)?))(?![\w.])", re.IGNORECASE
)
_PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_PAIR = re.compile(
    r"""(?<![\w.=!<>])([A-Za-z_][\w.]*)[ \t]*=(?!=)[ \t]*("[^"\n]*"|'[^'\n]*'|[^\s,;]+)"""
)
_DELIMITERS = ("\t", ",", ";")


def reader(form: str) -> Callable[[bytes], list[Values]]:
    """Give the function that reads a task's output; ``form`` "" = it looks which form it is.

    Raises:
        UsageError: It is neither a form nor a regular expression with named groups.
    """
    if form == "":
        return _any
    named = {"kv": pairs, "json": from_json, "csv": from_csv, "number": last_number}
    if form in named:
        parse = named[form]
        return lambda data: parse(_text(data))
    return _by_pattern(form)


def number(text: str) -> float | None:
    """Read a value as a number; None if it is none."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def pairs(text: str) -> list[Values]:
    """Find ``name=value`` anywhere; of two of a name the later one counts."""
    found = {match[1]: match[2].strip("\"'") for match in _PAIR.finditer(text)}
    return [found] if found else []


def from_json(text: str) -> list[Values]:
    """Read an object, a list of objects, an object a line, or a lone value."""
    whole = _decoded(text)
    if whole is not None:
        return _rows_in(whole)
    rows: list[Values] = []
    for line in text.splitlines():
        if line.lstrip().startswith("{") and (found := _decoded(line)) is not None:
            rows += _rows_in(found)  # other lines are talk between the values
    return rows


def documents(text: str) -> list[object] | None:
    """Read one document of JSON, or one a line; None if it is neither."""
    whole = _decoded(text)
    texts = [text] if whole is not None else [line for line in text.splitlines() if line.strip()]
    lines = [line for one in texts if (line := _decoded(one)) is not None]
    try:
        found: list[object] = [msgspec.json.decode(line) for line in lines]
    except (msgspec.DecodeError, RecursionError):  # half a character in a text, say
        return None
    return found if found and len(found) == len(texts) else None


def from_csv(text: str) -> list[Values]:
    """Read lines under a header; tabs, commas or semicolons between the fields."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        return []
    delimiter = max(_DELIMITERS, key=lines[0].count)
    csv.field_size_limit(LIMIT)
    rows = list(csv.reader(lines, delimiter=delimiter))
    header = [name.strip() for name in rows[0]]
    if len(set(header)) != len(header) or not all(header):
        return []
    if any(number(name) is not None for name in header):
        return []
    if any(len(row) != len(header) for row in rows):
        return []
    return [
        {name: value.strip() for name, value in zip(header, row, strict=True)} for row in rows[1:]
    ]


def last_number(text: str) -> list[Values]:
    """Find the last number."""
    last = deque(_LONE_NUMBER.finditer(text), maxlen=1)
    return [{LONE: match[0]} for match in last]


def is_plain_number(text: str) -> bool:
    """Say whether JSON would write the number just so."""
    return _PLAIN_NUMBER.fullmatch(text) is not None  # not 007, .5, +1


def _any(data: bytes) -> list[Values]:
    """Read the first form that fits; which one depends on the bytes alone."""
    text = _text(data)
    start = text.lstrip()[:1]
    if start in ("{", "[") and (rows := from_json(text)):
        return rows
    if "=" in text and (rows := pairs(text)):
        return rows
    return _surely_csv(text) or last_number(text)


def _surely_csv(text: str) -> list[Values]:
    """Read CSV that nobody called so: several columns, and a number in each line."""
    rows = from_csv(text)
    sure = all(
        len(row) > 1 and any(number(value) is not None for value in row.values()) for row in rows
    )
    return rows if sure else []


def _by_pattern(form: str) -> Callable[[bytes], list[Values]]:
    hint = f"one of {', '.join(FORMS)}, or a pattern such as E=(?P<E>\\S+)"
    compiled = pattern.compiled(form, f"table={form}", hint=hint)
    if not compiled.groupindex:
        raise UsageError(
            f"table={form}: is no form of values, and as a pattern it has no named groups",
            hint=hint,
        )

    def parse(data: bytes) -> list[Values]:
        found: Values = {}
        for match in compiled.finditer(_text(data)):
            found |= {name: value for name, value in match.groupdict().items() if value is not None}
        return [found] if found else []

    return parse


def _decoded(text: str) -> msgspec.Raw | None:
    """Read JSON; None if it is none. NaN and Infinity, as many programs write them, are texts."""
    try:
        return msgspec.json.decode(text, type=msgspec.Raw)
    except RecursionError:
        return None
    except (msgspec.DecodeError, UnicodeError):
        if "NaN" not in text and "Infinity" not in text:
            return None
    try:
        found = json.loads(text, parse_float=_as_it_is, parse_int=_as_it_is, parse_constant=str)
        return msgspec.Raw(msgspec.json.encode(found))
    except (ValueError, RecursionError):
        return None


def _as_it_is(digits: str) -> msgspec.Raw:
    return msgspec.Raw(digits.encode())


def _rows_in(raw: msgspec.Raw) -> list[Values]:
    """Read its rows; none of what has half a character in a text, or lists in lists without end."""
    try:
        return _rows_of(raw)
    except (msgspec.DecodeError, RecursionError):
        return []


def _rows_of(raw: msgspec.Raw) -> list[Values]:
    data = bytes(raw).strip()
    if data.startswith(b"{"):
        return [_flat(raw)]
    if data.startswith(b"["):
        items = msgspec.json.decode(raw, type=list[msgspec.Raw])
        if items and all(bytes(item).startswith(b"{") for item in items):
            return [_flat(item) for item in items]
    value = _value(raw)
    return [] if value is None else [{LONE: value}]


def _flat(raw: msgspec.Raw, prefix: str = "", depth: int = 1) -> Values:
    """Read an object; what is inside another one is called ``outer.inner``."""
    found: Values = {}
    for name, item in msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).items():
        if bytes(item).startswith(b"{") and depth < DEEPEST:
            found |= _flat(item, f"{prefix}{name}.", depth + 1)
        elif (value := _value(item)) is not None:
            found[prefix + name] = value
    return found


def _value(raw: msgspec.Raw) -> str | None:
    """Give a value's text; None for null."""
    data = bytes(raw).strip()
    if data.startswith(b'"'):
        return msgspec.json.decode(raw, type=str)
    return None if data == b"null" else data.decode()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def joined(pieces: Iterable[bytes]) -> bytes:
    """Put a result's bytes together; of a very long one the last whole lines."""
    parts: list[bytes] = []
    size = 0
    cut = False
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size > 2 * LIMIT:
            parts = [b"".join(parts)[-LIMIT:]]
            size, cut = LIMIT, True
    whole = b"".join(parts)
    if size <= LIMIT and not cut:
        return whole
    return whole[-LIMIT:].partition(b"\n")[2]
