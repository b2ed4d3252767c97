"""What does the text of an axis mean: a range, a list, a pattern of files, a file of lines?"""

from __future__ import annotations

import posixpath
import re
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Protocol

from corral.errors import UsageError
from corral.model import texts
from corral.model.command import DIGITS, Axis, Listed, Range

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST = 10**9  # values of one axis; more is a slip of the keyboard
ROUNDING = Decimal("1e-20")  # of two logarithms: far above their error, far below a step

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:(?::|\.\.)(\*?)({_NUMBER}))?")
_LETTERS = re.compile(r"([A-Za-z])\.\.([A-Za-z])(?:(?::|\.\.)([+-]?\d+))?")
_RANGE_LIKE = re.compile(r"[\w.+\-]*\.\.[\w.+\-*:]*")


class Folder(Protocol):
    """What of the file system a command may be asked about; paths are relative to its folder."""

    def is_file(self, path: str) -> bool:
        """Say whether a file of that name is there."""
        ...

    def glob(self, pattern: str) -> list[str]:
        """List what matches, unsorted, hidden names left out."""
        ...

    def inside(self, path: str) -> list[str]:
        """List the files in a folder, however deep, by their paths in it; none if there is no folder."""
        ...

    def read(self, path: str) -> bytes:
        """Read a file; ``-`` is standard input.

        Raises:
            UsageError: It cannot be read.
        """
        ...


def looks_like_range(text: str) -> bool:
    """Say whether somebody meant a range, right or wrong: ``5..``, ``1...5``, ``1..5:0``."""
    return bool(_RANGE_LIKE.fullmatch(text)) and any(c.isdigit() for c in text)


def looks_like_axis(text: str) -> bool:
    """Say whether an unnamed brace with this text counts as an axis, where one may stand."""
    if not text or any(c in text for c in " \t\n'\"`{}$"):
        return False
    if text.startswith("@"):
        return len(text) > 1 and not text.startswith("@{")
    if _RANGE.fullmatch(text) or _LETTERS.fullmatch(text):
        return True
    items = text.split(",")
    if not all(items):
        return False
    return len(items) > 1 or any(c in text for c in "*?[")


def parse(name: str, text: str, folder: Folder, notes: list[str]) -> Axis:
    """Read the text of an axis.

    Raises:
        UsageError: It is an empty pattern, a bad range, an unreadable file, …
    """
    check_text(text, f"the values of {name}")
    if text.startswith("@") and len(text) > 1:
        return _file(name, text, folder, notes)
    if looks_like_range(text) or _LETTERS.fullmatch(text):
        return _range(name, text)
    items = text.split(",")
    if not any(c in text for c in "*?["):
        return Listed(name=name, text=text, kind="list", written=texts.written(items))
    return _glob(name, text, items, folder)


def listed(name: str, values: Sequence[str]) -> Listed:
    """Make an axis of values that were given one by one.

    Raises:
        UsageError: There are none, or one holds a NUL byte.
    """
    if not values:
        raise UsageError(f"{name}: a list without values", hint="give it at least one")
    for value in values:
        check_text(value, f"a value of {name}")
    return Listed(name=name, text=",".join(values), kind="list", written=texts.written(values))


def check_text(text: str, what: str) -> None:
    """Refuse what no command can hold, or no table of results.

    Raises:
        UsageError: There is a NUL in it, or it is not UTF-8.
    """
    if "\0" in text:
        raise UsageError(f"{what} cannot hold a NUL byte", hint="leave it out")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = text.encode("utf-8", "backslashreplace").decode().replace("\\udc", "\\x")
        raise UsageError(f"{what} is not UTF-8: {shown}", hint="write it in UTF-8") from error


def _range(name: str, text: str) -> Range:
    letters = _LETTERS.fullmatch(text)
    if letters:
        return _letters(name, text, letters)
    match = _RANGE.fullmatch(text)
    if match is None or "..." in text:
        raise UsageError(
            f"{{{text}}} is no range", hint="write {1..5}, {1..5:.5}, {10..1} or {1e-4..1:*10}"
        )
    first_text, last_text, star, step_text = match.groups()
    with localcontext() as context:
        context.prec = DIGITS
        try:
            first, last = Decimal(first_text), Decimal(last_text)
            step = Decimal(step_text) if step_text else Decimal(1)
            count = (
                _count_multiply(text, first, last, step)
                if star
                else _count_add(text, first, last, step)
            )
        except ArithmeticError as error:
            raise UsageError(
                f"{{{text}}}: numbers too far apart to count", hint="take a larger step"
            ) from error
        if not star and last < first:
            step = -abs(step)
        if star and last < first and step > 1:
            step = 1 / step
    if count > MOST:
        raise UsageError(f"{{{text}}} has {count} values", hint="take a larger step")
    return Range(
        name=name,
        text=text,
        kind="multiply" if star else "add",
        first=first_text,
        step=str(step),
        count=count,
        width=_width(first_text, last_text),
    )


def _letters(name: str, text: str, match: re.Match[str]) -> Range:
    first, last, step_text = ord(match[1]), ord(match[2]), match[3]
    step = abs(int(step_text)) if step_text else 1
    if step == 0 or match[1].isupper() != match[2].isupper():
        raise UsageError(f"{{{text}}} is no range of letters", hint="write {a..e} or {A..E}")
    return Range(
        name=name,
        text=text,
        kind="letters",
        first=match[1],
        step=str(step if last >= first else -step),
        count=abs(last - first) // step + 1,
    )


def _count_add(text: str, first: Decimal, last: Decimal, step: Decimal) -> int:
    if step == 0:
        raise UsageError(f"{{{text}}}: a step of 0 never arrives", hint="leave the step out for 1")
    if step < 0 and first < last:
        low, high = text.split("..")[0], text.split("..")[1].partition(":")[0]
        raise UsageError(
            f"{{{text}}}: a negative step never arrives", hint=f"write {{{high}..{low}:{-step}}}"
        )
    return int(abs(last - first) // abs(step)) + 1


def _count_multiply(text: str, first: Decimal, last: Decimal, step: Decimal) -> int:
    if first <= 0 or last <= 0 or step <= 0 or step == 1:
        raise UsageError(
            f"{{{text}}}: a range that multiplies needs numbers above 0 and a factor other than 1",
            hint="write {1e-4..1:*10} or {1..1024:*2}",
        )
    if step < 1 and last > first:
        raise UsageError(f"{{{text}}}: this factor never arrives", hint="take its inverse")
    factor = step if step > 1 else 1 / step
    steps = (max(first, last) / min(first, last)).ln() / factor.ln()
    return int(steps + ROUNDING) + 1


def _width(first: str, last: str) -> int:
    """Say how wide the numbers are to be: bash keeps a width that was written with zeros."""
    padded = [text for text in (first, last) if re.fullmatch(r"[+-]?0\d+", text)]
    return max(len(first), len(last)) if padded else 0


def read_text(path: str, folder: Folder) -> str:
    """Read a file of values; a byte order mark is not part of it.

    Raises:
        UsageError: It cannot be read, holds a NUL byte, or is not UTF-8.
    """
    data = folder.read(path)
    if b"\0" in data:
        raise UsageError(f"{path}: a value cannot hold a NUL byte", hint="one value a line")
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}: is not UTF-8: {error.reason} at byte {error.start}", hint="write it in UTF-8"
        ) from error


def lines(text: str) -> Iterator[str]:
    r"""Cut behind each ``\n`` and nowhere else: other line ends may be part of a value."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def without_end(line: str) -> str:
    r"""Cut off what ends a line, ``\n`` or ``\r\n``."""
    return line.removesuffix("\n").removesuffix("\r")


def _file(name: str, text: str, folder: Folder, notes: list[str]) -> Listed:
    path = text[1:]
    content = read_text(path, folder)
    values = filter(None, map(without_end, lines(content)))
    axis = Listed(name=name, text=text, kind="file", written=texts.written(values))
    if not len(axis):
        raise UsageError(f"{path}: holds no line", hint="one value a line")
    blank = content.count("\n") + (not content.endswith("\n")) - len(axis)
    if blank:
        notes.append(f"{path}: {blank} blank line{'s' if blank > 1 else ''} left out")
    return axis


def _glob(name: str, text: str, items: Sequence[str], folder: Folder) -> Listed:
    if "\\" in text:
        raise UsageError(f"{{{text}}}: a path is written with /", hint=text.replace("\\", "/"))
    values: list[str] = []
    for item in items:
        if any(c in item for c in "*?["):
            values += _matches(item, folder)
        elif folder.is_file(item):
            values.append(item)
        else:
            raise UsageError(
                f"{{{text}}}: there is no file {item} here",
                hint="a list with * ? [ names files; values with those: -p with @file, or [sweep]",
            )
    return Listed(name=name, text=text, kind="glob", written=texts.written(values))


def _matches(pattern: str, folder: Folder) -> list[str]:
    """List the files that a pattern names, in the order of their bytes."""
    found = [path.encode("utf-8", "surrogateescape") for path in folder.glob(pattern)]
    try:
        paths = [path.decode() for path in sorted(found)]
    except UnicodeDecodeError as error:
        shown = error.object.decode("utf-8", "backslashreplace")
        raise UsageError(
            f"{{{pattern}}}: a file's name is not UTF-8: {shown}", hint="rename it"
        ) from error
    if not pattern.endswith("/"):
        paths = [path for path in paths if folder.is_file(path)]
    if not paths:
        where = posixpath.dirname(pattern) or "."
        home = "; ~ is not expanded" if pattern.startswith("~") else ""
        raise UsageError(
            f"{{{pattern}}} matches no file",
            hint=f"looked in {where}/; hidden files do not count{home}",
        )
    return paths


def files_inside(path: str, folder: Folder) -> list[str]:
    """List the files in a folder, however deep; hidden ones are left out."""
    found = [file for file in folder.inside(path) if "/." not in f"/{file}"]
    return [f"{path.rstrip('/')}/{file}" for file in found]
