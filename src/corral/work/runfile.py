"""A run written down: the TOML file that says what ``corral run`` says with options.

All errors come at once, each with its line and column and the way out.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

import msgspec

from corral.errors import UsageError
from corral.model.base import Frozen
from corral.units import seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class RunFile(Frozen, frozen=True, kw_only=True):
    """What a run file says; None = it does not say."""

    run: tuple[str, ...]  # one word = a shell line, several = an argument vector
    name: str | None = None
    reps: int = 1
    sweep: dict[str, str | tuple[str, ...]] = msgspec.field(
        default_factory=dict
    )  # text as after -p, or the values themselves
    push: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    timeout: str | None = None
    retries: int | None = None
    slots: int | None = None
    shell: str = "/bin/sh"
    here: bool = False
    out: str | None = None
    check: tuple[str, ...] = ()
    collect: str | None = None


def load(text: str, *, path: str) -> RunFile:
    """Read a run file.

    Raises:
        UsageError: It is no TOML, or a key or value cannot be meant; all such errors in one.
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}", hint="TOML is described at toml.io") from error
    problems = [problem for key, value in found.items() for problem in _problems(key, value)]
    if "run" not in found:
        problems.append(("", "there is no `run = …`", "run = './sim -T {1..5}'"))
    if problems:
        raise _all(text, path, problems)
    command = found["run"]
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in found.items()
        if key not in ("run", "sweep", "timeout", "check")
    }
    check = found.get("check", [])
    return RunFile(
        run=(command,) if isinstance(command, str) else tuple(command),
        sweep={name: _axis(value) for name, value in found.get("sweep", {}).items()},
        timeout=None if "timeout" not in found else str(found["timeout"]),
        check=(check,) if isinstance(check, str) else tuple(check),
        **values,
    )


def dump(file: RunFile) -> str:
    """Write the run file that says the same; `load` of it gives ``file`` again."""
    lines = [f"run = {_toml(file.run[0] if len(file.run) == 1 else file.run)}"]
    plain = RunFile(run=file.run)
    for key in (
        "name",
        "reps",
        "push",
        "outputs",
        "timeout",
        "retries",
        "slots",
        "shell",
        "here",
        "out",
        "check",
        "collect",
    ):
        value = getattr(file, key)
        if value != getattr(plain, key):
            lines.append(f"{key} = {_toml(value)}")
    if file.sweep:
        lines += ["", "[sweep]"]
        lines += [f"{name} = {_toml(value)}" for name, value in file.sweep.items()]
    return "\n".join(lines) + "\n"


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(_text(item) for item in value)


def _command(value: object) -> bool:
    """A line, or the words of a vector, of which only the first must hold something."""
    if not isinstance(value, list):
        return _text(value)
    return bool(value) and _text(value[0]) and all(isinstance(word, str) for word in value)


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _time(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        seconds(str(value))
    except UsageError:
        return False
    return True


_KEYS: dict[str, tuple[Callable[[object], bool], str]] = {
    "run": (_command, "a command, or a list of its words"),
    "name": (_text, "a text"),
    "reps": (_positive, "a whole number from 1"),
    "sweep": (lambda value: isinstance(value, dict), "a table: [sweep]"),
    "push": (_texts, "a list of file names"),
    "outputs": (_texts, "a list of file names"),
    "timeout": (_time, 'a time such as 90 or "5m"'),
    "retries": (_count, "a whole number from 0"),
    "slots": (_positive, "a whole number from 1"),
    "shell": (_text, "the path of a shell"),
    "here": (lambda value: isinstance(value, bool), "true or false"),
    "out": (_text, "a folder"),
    "check": (lambda value: _text(value) or _texts(value), "a check, or a list of checks"),
    "collect": (_text, "a collecting rule"),
}


def _problems(key: str, value: object) -> list[tuple[str, str, str]]:
    """List what is wrong with a key: (key, what, way out)."""
    if key not in _KEYS:
        near = difflib.get_close_matches(key, _KEYS, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"keys are: {', '.join(_KEYS)}"
        return [(key, f"unknown key `{key}`", hint)]
    fits, what = _KEYS[key]
    if not fits(value):
        return [(key, f"`{key}` must be {what}", f"it is {json.dumps(value, default=str)}")]
    if key == "sweep":
        assert isinstance(value, dict)
        return [problem for name, axis in value.items() for problem in _axis_problems(name, axis)]
    return []


def _axis_problems(name: str, value: object) -> list[tuple[str, str, str]]:
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        return [(name, f"{name!r} is no name for a parameter", "letters, digits and _")]
    single = _text(value) or (isinstance(value, int | float) and not isinstance(value, bool))
    listed = (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(item, str | int | float) and not isinstance(item, bool) for item in value
        )
    )
    if single or listed:
        return []
    return [(name, f"`{name}` in [sweep] must be values", f'{name} = "1..5:.5" or {name} = [1, 2]')]


def _axis(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, list):
        return tuple(str(item) for item in value)
    return str(value)


def _all(text: str, path: str, problems: Sequence[tuple[str, str, str]]) -> UsageError:
    """Make one error of many, as a compiler shows them."""
    lines = text.splitlines()
    shown: list[str] = []
    for key, what, hint in problems:
        where = _find(lines, key)
        if where is None:
            shown.append(f"{path}: {what}\n      {hint}")
            continue
        number, column = where
        mark = " " * (column - 1) + "^" * max(1, len(key))
        source = lines[number - 1]
        shown.append(f"{path}:{number}:{column}: {what}\n  {source}\n  {mark} {hint}")
    count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
    return UsageError("\n".join(shown), hint=f"{count}; nothing was started")


def _find(lines: Sequence[str], key: str) -> tuple[int, int] | None:
    if not key:
        return None
    pattern = re.compile(rf"""\s*\[?\s*["']?({re.escape(key)})["']?\s*(=|\]|\.)""")
    for number, line in enumerate(lines, 1):
        if match := pattern.match(line):
            return number, match.start(1) + 1
    return None


def _toml(value: object) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return _basic_string(str(value))


def _basic_string(text: str) -> str:
    """Write a TOML string; JSON's escapes are TOML's, but for DEL, which JSON leaves bare."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
