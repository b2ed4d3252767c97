"""What does a ``hosts.toml`` say?

    ssh = "ssh -F lab"
    [groups]
    fast = "node[1-3]"
    [hosts."node[1-3]"]
    slots = 4
    tags = ["gpu"]                          # a tag is a group too

All errors come at once, each with its line and column and the way out.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec

from corral import toml
from corral.errors import UsageError
from corral.hosts import hostset, name, places, sshconfig
from corral.hosts.hostset import Expander
from corral.hosts.inventory import SSH, Groups, Inventory, Settings, Table, no_aliases
from corral.hosts.places import Problem
from corral.model.host import is_plain_path
from corral.model.needs import MOST, is_resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from corral.hosts.inventory import Aliases


def load(text: str, *, path: str, aliases: Aliases = no_aliases) -> Inventory:
    """Read a ``hosts.toml``.

    Raises:
        UsageError: It is no TOML, or a key, a value or a set cannot be meant; all such errors in
            one, each with its line and column.
    """
    try:
        found = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}", hint="TOML is described at toml.io") from error
    problems = [*_problems(found), *_bad_texts(found)]
    if problems:
        raise places.error(text, path, problems)
    inventory = _inventory(found)
    problems = list(_bad_sets(found, inventory, aliases))
    if problems:
        raise places.error(text, path, problems)
    return inventory


def _inventory(found: dict[str, Any]) -> Inventory:
    """Make structs of a file that is known to be good."""
    return Inventory(
        ssh=found.get("ssh"),
        groups={group: _sets(value) for group, value in found.get("groups", {}).items()},
        tables=tuple(
            Table(text=text, settings=msgspec.convert(table, Settings))
            for text, table in found.get("hosts", {}).items()
        ),
    )


def _sets(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _text(value: object) -> bool:
    return _sayable(value) and bool(value.strip())


def _sayable(value: object) -> TypeGuard[str]:
    """Say whether a value is a text that a program can be told: a NUL would end it early."""
    return isinstance(value, str) and "\0" not in value


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(_text(item) for item in value)


def _number(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _variables(value: object) -> bool:
    return isinstance(value, dict) and all(
        re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) and _sayable(text)
        for key, text in value.items()
    )


def _resources(value: object) -> bool:
    return isinstance(value, dict) and all(
        is_resource(key) and _number(amount, MOST) for key, amount in value.items()
    )


def _part(value: object, template: str) -> bool:
    """Say whether a value can be a part of a name."""
    try:
        return isinstance(value, str) and bool(name.parse(template.format(value)))
    except UsageError:
        return False


def _address(value: object) -> bool:
    if not isinstance(value, str):
        return False
    template = "[{}]" if ":" in value else "{}"
    return "@" not in value and _part(value, template)


def _ssh(value: object) -> bool:
    try:
        return _sayable(value) and bool(sshconfig.check(value))
    except UsageError:
        return False


def _tags(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, str) and _is_group(item) for item in value
    )


def _is_group(text: str) -> bool:
    return hostset.is_group(text) and text not in ("*", SSH)


_TOP: dict[str, tuple[Callable[[object], bool], str]] = {
    "ssh": (_ssh, 'a command: "ssh -F file"'),
    "groups": (lambda value: isinstance(value, dict), "a table: [groups]"),
    "hosts": (lambda value: isinstance(value, dict), 'tables: [hosts."node[1-3]"]'),
}
_TABLE: dict[str, tuple[Callable[[object], bool], str]] = {
    "host": (_address, "an address or a name, without user and port"),
    "user": (lambda value: _part(value, "{}@host"), "a user's name"),
    "port": (lambda value: _number(value, 65535), "a number from 1 to 65535"),
    "slots": (
        lambda value: _number(value, hostset.MOST_SLOTS),
        f"a number from 1 to {hostset.MOST_SLOTS}",
    ),
    "tags": (_tags, 'a list of names: ["gpu", "big"]'),
    "resources": (_resources, "a table of whole numbers from 1: { gpu = 2 }"),
    "env": (_variables, 'a table of texts: { OMP_NUM_THREADS = "4" }'),
    "setup": (_text, "shell lines"),
    "python": (
        lambda value: isinstance(value, str) and is_plain_path(value),
        "the path of a Python, of letters, digits and ./_~+-",
    ),
    "workdir": (_text, "a folder"),
    "ssh": (_ssh, 'a command: "ssh -F file"'),
}


def _problems(found: dict[str, Any]) -> Iterator[Problem]:
    """List what is wrong with keys and kinds of values."""
    for key, value in found.items():
        yield from _check((key,), value, _TOP)
    for group, value in _entries(found, "groups"):
        path = ("groups", group)
        if not _is_group(group):
            hint = "letters, digits and . _ -; `ssh` is the names in ssh_config"
            yield Problem(path=path, what=f"{group!r} is no name for a group", hint=hint)
        if not _text(value) and not _texts(value):
            what = f"`{group}` must be a set, or a list of sets"
            yield Problem(path=path, what=what, hint=_it_is(value))
    for text, table in _entries(found, "hosts"):
        path = ("hosts", text)
        if not isinstance(table, dict):
            what = f"`{text}` must be a table"
            yield Problem(path=path, what=what, hint=f"write [hosts.{json.dumps(text)}]")
            continue
        for key, value in table.items():
            yield from _check((*path, key), value, _TABLE)


def _entries(found: dict[str, Any], key: str) -> list[tuple[str, Any]]:
    table = found.get(key)
    return list(table.items()) if isinstance(table, dict) else []


def _check(
    path: tuple[str, ...],
    value: object,
    known: dict[str, tuple[Callable[[object], bool], str]],
) -> Iterator[Problem]:
    key = path[-1]
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"keys are: {', '.join(known)}"
        yield Problem(path=path, what=f"unknown key `{key}`", hint=hint)
        return
    fits, what = known[key]
    if not fits(value):
        yield Problem(path=path, what=f"`{key}` must be {what}", hint=_it_is(value))


def _it_is(value: object) -> str:
    return f"it is {json.dumps(value, default=str)}"


def _written(found: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str, str | None]]:
    """List the sets in a file: where, the set, and the set again if it is a value, not a key."""
    for group, value in _entries(found, "groups"):
        for text in value if isinstance(value, list) else [value]:
            if _text(text):
                yield ("groups", group), text, text
    for text, _ in _entries(found, "hosts"):
        yield ("hosts", text), text, None


def _bad_texts(found: dict[str, Any]) -> Iterator[Problem]:
    """List the sets that cannot be meant, whatever the groups are."""
    for path, text, value in _written(found):
        try:
            hostset.check(text)
        except UsageError as error:
            yield _problem(path, value, error)


def _problem(path: tuple[str, ...], value: str | None, error: UsageError) -> Problem:
    return Problem(
        path=path,
        what=error.message,
        hint=error.hint or "",
        value=value,
        offset=(error.column or 1) - 1,
    )


def _bad_sets(found: dict[str, Any], inventory: Inventory, aliases: Aliases) -> Iterator[Problem]:
    """List the sets that cannot be expanded, each once however many groups refer to it."""
    expander = Expander(Groups(inventory, aliases))
    stands = {text: (path, value) for path, text, value in _written(found)}
    seen: set[tuple[str | None, int | None]] = set()
    for text, (path, value) in stands.items():
        try:
            members = expander.members(text)
        except UsageError as error:
            if (error.text, error.column) not in seen:
                seen.add((error.text, error.column))
                yield _problem(*stands.get(error.text or "", (path, value)), error)
            continue
        if value is None and len(members) > 1 and "host" in found["hosts"][text]:
            what = f"one address cannot be that of {len(members)} hosts"
            hint = "a table for each, or leave `host` out"
            yield Problem(path=(*path, "host"), what=what, hint=hint)
