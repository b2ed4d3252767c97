"""Is a reported result valid? Verdicts on what came home; each check is one function.

``nonempty  lines=N  lines>=N  size>=N  matches=REGEX  json  json=KEY,KEY  files  ./check.py``; each but the
last two may be led by what it looks at: ``out.csv:lines=101``. Alone it looks at stdout.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tempfile
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol

from corral.errors import CorralError, UsageError
from corral.model.base import Frozen
from corral.results import pattern, program, values
from corral.results.content import STDOUT, Content
from corral.results.paths import matches
from corral.results.source import CHUNK
from corral.units import show_size, size

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

    from corral.model.task import Result, ResultFile
    from corral.results.source import Source

PROGRAM_LIMIT_S = 60.0  # for a program to look at one result; one that needs more hangs
PROGRAM_MEMORY = 4 << 30  # bytes of address space of each of its processes: numpy reserves much
JSON_LIMIT = 64 << 20  # bytes of a result that can be read as JSON in the master's memory
SHOWN = 60  # characters of a result that a reason quotes

Kind = Literal["nonempty", "lines", "size", "matches", "json", "files", "program"]

_CHECK = re.compile(
    r"(?:(?P<of>[^:]+):)?"
    r"(?:(?P<bare>nonempty|json|files)|(?P<name>lines|size|matches|json)(?P<sign>>?=)(?P<value>.*))",
    re.DOTALL,
)
_NAMES = ("nonempty", "lines=1", "lines>=1", "size>=1K", "matches=REGEX", "json", "json=KEY,KEY", "files",
          "./check.py")  # fmt: skip
_CRASHES = (
    "Traceback (most recent call last)", "Execution halted", 'Exception in thread "main"',
)  # fmt: skip
"""What interpreters of Python, R and Java say as they end with 1 and had nothing to say of a result."""


class Output(Protocol):
    """A declared output, with the task's values in its name."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...


class Verdict(Frozen, frozen=True, kw_only=True):
    """What a check says."""

    ok: bool
    reason: str = ""  # why it is not, for people


class Check(Frozen, frozen=True, kw_only=True):
    """A check as it was understood."""

    text: str  # as typed
    kind: Kind
    of: str = STDOUT  # what it looks at
    least: bool = False  # of lines: at least so many
    number: int = 0  # of lines; bytes of size
    pattern: str = ""
    keys: tuple[str, ...] = ()  # that JSON must have; "a.b" is b inside a


class NoVerdictError(CorralError):
    """A check could not say whether a result is valid: it is to look again."""


@lru_cache(maxsize=1024)
def read(text: str) -> Check:
    """Read a check.

    Raises:
        UsageError: It is none.
    """
    match = _CHECK.fullmatch(text)
    if match is not None and (match["of"] is None or match["bare"] != "files"):
        of = match["of"] or STDOUT
        if match["bare"] is not None:
            return Check(text=text, kind=_BARE[match["bare"]], of=of)
        if (found := _valued(text, of, match["name"], match["sign"], match["value"])) is not None:
            return found
    elif "/" in text and "=" not in text:
        return Check(text=text, kind="program")
    near = difflib.get_close_matches(re.split(r"[>=]", text)[0], [*_BARE, *_SIGNS], n=1)
    hint = next((name for name in _NAMES if near and name.startswith(near[0])), "")
    raise UsageError(
        f"there is no check {text!r}",
        hint=f"did you mean {hint}?" if hint else f"one of: {', '.join(_NAMES)}",
    )


def judge(
    checks: Sequence[Check], source: Source, result: Result, *, stop: threading.Event | None = None
) -> Verdict:
    """Carry out all checks, the quick ones first, up to the first one that is not passed.

    Raises:
        NoVerdictError: One could not say, or ``stop`` was set.
    """
    for check in sorted(checks, key=lambda check: check.kind == "program"):
        try:
            reason = (
                _run(check, source, result, stop)
                if check.kind == "program"
                else _LOOKS[check.kind](check, source, result)
            )
        except NoVerdictError:
            raise
        except (CorralError, OSError) as error:
            raise NoVerdictError(f"{check.text}: {error}") from error
        if reason:
            return Verdict(ok=False, reason=reason)
    return Verdict(ok=True)


def declared(outputs: Iterable[Output], files: Iterable[ResultFile]) -> Verdict:
    """Ask for all declared files."""
    reason = missing(
        [(output.name, output.kind) for output in outputs], [file.name for file in files]
    )
    return Verdict(ok=not reason, reason=reason)


def verify(path: Path, *, sha256: str, size: int) -> Verdict:
    """Ask for exactly these bytes.

    Raises:
        OSError: The file cannot be read: no verdict.
    """
    found = path.stat().st_size
    if found != size:
        return Verdict(ok=False, reason=f"{found} bytes came instead of {size}")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
    if digest.hexdigest() != sha256:
        return Verdict(ok=False, reason="other bytes came than were sent")
    return Verdict(ok=True)


def missing(outputs: Sequence[tuple[str, str]], names: Collection[str]) -> str:
    """Say which declared outputs did not come; "" if all did.

    ``outputs`` are (name, kind): a ``file`` must be there, a ``glob`` must match at least one
    file, a ``dir`` must hold at least one.
    """
    came = frozenset(names)
    absent = [name for name, kind in outputs if not _came(name, kind, came)]
    if not absent:
        return ""
    return f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing"


def _came(name: str, kind: str, names: frozenset[str]) -> bool:
    if kind == "glob":
        return any(matches(found, name) for found in names)
    if kind == "dir":
        return any(name == "." or found.startswith(f"{name}/") for found in names)
    return name in names


# ------------------------------------------------------------------- reading

_BARE: dict[str, Kind] = {"nonempty": "nonempty", "json": "json", "files": "files"}
_SIGNS = {"lines": ("=", ">="), "size": (">=",), "matches": ("=",), "json": ("=",)}


def _valued(text: str, of: str, name: str, sign: str, value: str) -> Check | None:
    """Read a check with a value; None if it cannot be meant."""
    if sign not in _SIGNS[name]:
        return None
    match name:
        case "lines":
            if not (value.isascii() and value.isdigit()):
                raise UsageError(f"--check {text}: {value!r} is no number of lines", hint="lines=1")
            return Check(text=text, kind="lines", of=of, least=sign == ">=", number=int(value))
        case "size":
            return Check(text=text, kind="size", of=of, number=size(value))
        case "matches":
            _compile(text, value)
            return Check(text=text, kind="matches", of=of, pattern=value)
        case _:
            keys = tuple(key.strip() for key in value.split(",") if key.strip())
            return Check(text=text, kind="json", of=of, keys=keys) if keys else None


def _compile(text: str, expression: str) -> re.Pattern[str]:
    hint = "a dot or a bracket that is meant as itself has a backslash before it"
    return pattern.compiled(expression, f"--check {text}", hint=hint)


# ------------------------------------------------------------------- looking


def _nonempty(check: Check, source: Source, result: Result) -> str:
    content = Content(source, check.of)
    if content.declared:
        return _empty_files(content.files(result)) or ("" if content.size(result) else _gone(check))
    return "" if content.size(result) else f"{check.of} is empty"


def _files(check: Check, source: Source, result: Result) -> str:
    del check, source
    return _empty_files(result.files)


def _lines(check: Check, source: Source, result: Result) -> str:
    count, last = 0, b"\n"
    for last in Content(source, check.of).chunks(result):
        count += last.count(b"\n")
    count += not last.endswith(b"\n")  # a last line without newline counts
    if count == check.number or (check.least and count > check.number):
        return ""
    wanted = f"at least {check.number}" if check.least else str(check.number)
    return f"{check.of} has {count} line{'' if count == 1 else 's'} instead of {wanted}"


def _size(check: Check, source: Source, result: Result) -> str:
    found = Content(source, check.of).size(result)
    if found >= check.number:
        return ""
    return f"{check.of} has {found} bytes, less than {check.number}"


def _matches(check: Check, source: Source, result: Result) -> str:
    text = values.joined(Content(source, check.of).chunks(result)).decode("utf-8", "replace")
    if _compile(check.text, check.pattern).search(text):
        return ""
    return f"{check.of} does not match {check.pattern}: {_quoted(text)}"


def _json(check: Check, source: Source, result: Result) -> str:
    content = Content(source, check.of)
    if content.size(result) > JSON_LIMIT:
        raise NoVerdictError(
            f"{check.text}: {show_size(content.size(result))} are too many to be read as JSON",
            hint="have a program of your own look at it: --check ./check.py",
        )
    text = b"".join(content.chunks(result)).decode("utf-8", "replace")
    documents = values.documents(text)
    if documents is None:
        return f"{check.of} is no JSON: {_quoted(text)}"
    for document in documents:
        for key in check.keys:
            if not _has(document, key):
                return f"{check.of} has no {key!r}: {_quoted(text)}"
    return ""


_LOOKS: dict[Kind, Callable[[Check, Source, Result], str]] = {
    "nonempty": _nonempty,
    "files": _files,
    "lines": _lines,
    "size": _size,
    "matches": _matches,
    "json": _json,
}


def _empty_files(files: Iterable[ResultFile]) -> str:
    empty = sorted(file.name for file in files if not file.size)
    if not empty:
        return ""
    return f"{', '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty"


def _gone(check: Check) -> str:
    return f"{check.of} is missing"


def _has(document: object, key: str) -> bool:
    """Look for a key; in a list each item must have it."""
    if isinstance(document, list):
        return bool(document) and all(_has(item, key) for item in document)
    if not isinstance(document, dict):
        return False
    if key in document:
        return True
    outer, dot, inner = key.partition(".")
    return bool(dot) and outer in document and _has(document[outer], inner)


def _quoted(text: str) -> str:
    shown = " ".join(text.split())
    return repr(shown if len(shown) <= SHOWN else f"{shown[: SHOWN - 1]}…")


# ------------------------------------------------------------------- the user's own program


def _run(check: Check, source: Source, result: Result, stop: threading.Event | None) -> str:
    """Have a program judge: 0 = valid, 1 = not; all else (a crash, a hang) says nothing."""
    with tempfile.TemporaryFile() as said, program.Desk(source) as desk:
        ended = program.run(
            check.text,
            folder=source.folder,
            feed=[program.line(desk.lay(result))],
            out=said,
            limit_s=PROGRAM_LIMIT_S,
            memory=PROGRAM_MEMORY,
            stop=stop,
        )
        words = _first_words(said) or ended.words.partition("\n")[0][:SHOWN]
    if ended.how == "stopped":
        raise NoVerdictError(f"{check.text}: was stopped")
    if ended.how == "late":
        raise NoVerdictError(f"{check.text}: said nothing within {PROGRAM_LIMIT_S:.0f} s")
    if ended.exit == 0:
        return ""
    if ended.exit == 1 and not any(mark in ended.words for mark in _CRASHES):
        return f"{check.text}: {words}" if words else f"{check.text} says no"
    raise NoVerdictError(f"{check.text}: {program.show_exit(ended.exit)}{program.last_word(ended)}")


def _first_words(said: BinaryIO) -> str:
    said.seek(0)
    return said.readline(4 * SHOWN).decode("utf-8", "replace").strip()
