"""Which hosts does a set mean, and which set means these hosts?

    node[01-12],user@big:2222,4*small!node07      text --expand--> hosts --fold--> text

Operators count from left to right, as in clush: ``,`` and, ``!`` without, ``&`` only those also in,
``^`` either but not both. The order is the order written; a host named twice counts once, at its
first place, with the slots given last. A name without user or port takes, after ``!`` and ``&``,
that host with any.
"""

from __future__ import annotations

import difflib
import re
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING, Literal, NoReturn, Protocol

import msgspec

from corral.errors import UsageError
from corral.hosts import folding, name, pattern
from corral.model.base import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from corral.model.host import HostSpec

    Found = dict[str, HostSpec]  # by name, in order

MOST = 100_000  # hosts of a set; more is a slip of the keyboard
MOST_SLOTS = 4096  # of a host, as with -j
ALL = "all"  # the group of all configured hosts; also written *

Operator = Literal[",", "!", "&", "^"]
_OPERATORS: dict[str, Operator] = {",": ",", "!": "!", "&": "&", "^": "^"}

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SLOTS = re.compile(r"([0-9]+)\*")
_GROUP = re.compile(r"\w[\w.-]*|\*")
_CLOSES = {"[": "]", "{": "}"}

fold = folding.fold  # the way back


class Groups(Protocol):
    """What the groups of a set are."""

    def names(self) -> Sequence[str]:
        """List those worth suggesting."""
        ...

    def find(self, group: str) -> Sequence[str] | None:
        """Give the sets that a group unites; None = there is no such group."""
        ...


class NoGroups:
    """Nothing is configured."""

    def names(self) -> Sequence[str]:
        return ()

    def find(self, group: str) -> Sequence[str] | None:
        del group
        return None


class Operand(Frozen, frozen=True, kw_only=True):
    """An item of a set, and what is to be done with it."""

    operator: Operator
    text: str
    start: int  # its place in the set, from 0


def expand(text: str, *, groups: Groups | None = None) -> tuple[HostSpec, ...]:
    """Give the hosts that a set means, in the order written.

    Raises:
        UsageError: It cannot be meant, or means no host or more than `MOST`; with the column.
    """
    return Expander(groups or NoGroups()).expand(text)


def unite(found: Found, more: Iterable[HostSpec]) -> None:
    """Add hosts; one that is there already stays where it is and takes the slots given last."""
    for spec in more:
        if spec.name not in found or spec.slots is not None:
            found[spec.name] = spec


def operands(text: str) -> Iterator[Operand]:
    """Cut a set at its operators; those in brackets and braces are none.

    A set that starts with ``!`` starts from all configured hosts.

    Raises:
        UsageError: A bracket is open, an item is empty, names are divided by a blank.
    """
    if control := _CONTROL.search(text):
        shown = _CONTROL.sub("�", text)
        _refuse(shown, control.start(), "a control character is in no name", "type it anew")
    if not text.strip():
        _refuse(text, 0, "the set is empty", "write node[1-3] or @group")
    operator: Operator = ","
    start = 0
    for place, sign in _operators(text):
        if sign == "!" and not text[:place].strip():
            yield Operand(operator=",", text=f"@{ALL}", start=place)
        else:
            yield _operand(text, operator, start, place)
        operator, start = sign, place + 1
    yield _operand(text, operator, start, len(text))


def is_group(text: str) -> bool:
    """Say whether a group may have this name; ``*`` is the one of all hosts."""
    return bool(_GROUP.fullmatch(text))


def check(text: str) -> None:
    """See to it that a set can be meant, whatever the groups are.

    Raises:
        UsageError: It cannot; with the column.
    """
    for operand in operands(text):
        start = _slots_end(operand.text)
        item = operand.text[start:]
        if start:
            _slots(text, operand, start)
        if item.startswith("@"):
            _group_names(text, operand, item)
        elif _is_wild(item):
            _texts(text, operand, start)
        else:
            for _ in _specs(text, operand, start):
                pass


def references(text: str) -> frozenset[str]:
    """Name the groups that a set refers to, or may; `ALL` is also that of a pattern of names."""
    found: set[str] = set()
    for operand in operands(text):
        item = operand.text[_slots_end(operand.text) :]
        if item.startswith("@"):
            found |= set(_group_names(text, operand, item))
        elif _is_wild(item):
            found.add(ALL)
        elif operand.operator == "!":
            found.add(item)
    return frozenset(found)


class Expander:
    """Expands sets with the same groups; each group is looked up once."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._known: dict[str, Found] = {}
        self._open: list[str] = []  # groups being expanded, outermost first

    def expand(self, text: str) -> tuple[HostSpec, ...]:
        """Give the hosts that a set means.

        Raises:
            UsageError: As `corral.hosts.hostset.expand`.
        """
        found = self._set(text)
        if not found:
            _refuse(text, 0, "this set means no host", "name one that is not taken away again")
        return tuple(found.values())

    def members(self, text: str, *, taken: bool = False) -> tuple[HostSpec, ...]:
        """Give the hosts that a set means, maybe none.

        ``taken`` says that they are to be taken away, as after ``!``: there a group's bare name
        means the group.

        Raises:
            UsageError: As `expand`, but for a set without hosts.
        """
        return tuple(self._set(text, taken=taken).values())

    def _set(self, text: str, *, taken: bool = False) -> Found:
        found: Found = {}
        for operand in operands(text):
            more = self._operand(text, operand, taken=taken or operand.operator == "!")
            found = _combine(found, operand.operator, more)
            if len(found) > MOST:
                _too_many(text, operand, len(found))
        return found

    def _operand(self, text: str, operand: Operand, *, taken: bool) -> Found:
        start = _slots_end(operand.text)
        found = self._hosts(text, operand, start, taken=taken)
        if not start:
            return found
        slots = _slots(text, operand, start)
        return {key: msgspec.structs.replace(spec, slots=slots) for key, spec in found.items()}

    def _hosts(self, text: str, operand: Operand, start: int, *, taken: bool) -> Found:
        item = operand.text[start:]
        if item.startswith("@"):
            return self._named_groups(text, operand, item, taken=taken)
        if _is_wild(item):
            masks = list(_texts(text, operand, start))
            return self._matching(text, operand, ALL, masks, taken=taken)
        found = {spec.name: spec for spec in _specs(text, operand, start)}
        if taken and self._groups.find(item) is not None:
            found |= self._group(text, operand, item)
        return found

    def _named_groups(self, text: str, operand: Operand, item: str, *, taken: bool) -> Found:
        """Look up ``@name``, ``@rack[1-2]`` or ``@name:GLOB``."""
        found: Found = {}
        _, colon, glob = item.partition(":")
        for group in _group_names(text, operand, item):
            members = (
                self._matching(text, operand, group, [glob], taken=taken)
                if colon
                else self._group(text, operand, group)
            )
            unite(found, members.values())
        return found

    def _matching(
        self, text: str, operand: Operand, group: str, masks: Sequence[str], *, taken: bool
    ) -> Found:
        """Give the hosts of a group whose name, or host's name, matches; to keep there must be one."""
        members = self._group(text, operand, group)
        found = {
            key: spec
            for key, spec in members.items()
            if any(fnmatchcase(key, mask) or fnmatchcase(spec.host, mask) for mask in masks)
        }
        if not found and not taken:
            message = f"{operand.text} matches no host of @{group}"
            _refuse(text, operand.start, message, f"corral hosts expand @{group} lists them")
        return found

    def _group(self, text: str, operand: Operand, group: str) -> Found:
        if group in self._known:
            return self._known[group]
        if group in self._open:
            ring = " -> ".join(f"@{one}" for one in (*self._open[self._open.index(group) :], group))
            _refuse(text, operand.start, f"@{group} refers to itself: {ring}", "break the ring")
        sets = self._groups.find(group)
        if sets is None:
            self._unknown(text, operand, group)
        found: Found = {}
        self._open.append(group)
        try:
            for one in sets:
                unite(found, self._set(one).values())
        finally:
            self._open.pop()
        if len(found) > MOST:
            _too_many(text, operand, len(found))
        self._known[group] = found
        return found

    def _unknown(self, text: str, operand: Operand, group: str) -> NoReturn:
        known = self._groups.names()
        near = difflib.get_close_matches(group, known, n=1)
        if group == ALL:
            _refuse(text, operand.start, "no hosts are configured", "name them in hosts.toml")
        if near:
            hint = f"did you mean @{near[0]}?"
        elif known:
            hint = f"groups are: {', '.join(f'@{one}' for one in islice(known, 10))}"
        else:
            hint = "no groups are configured: hosts.toml names them in [groups]"
        _refuse(text, operand.start, f"there is no group @{group}", hint)


class Cover:
    """Says whether hosts are among others: a name without user or port is that host with any."""

    def __init__(self, specs: Iterable[HostSpec]) -> None:
        self._keys = {(spec.host, spec.user, spec.port) for spec in specs}

    def __contains__(self, spec: HostSpec) -> bool:
        return any(
            (spec.host, user, port) in self._keys
            for user in {spec.user, None}
            for port in {spec.port, None}
        )


def _combine(found: Found, operator: Operator, more: Found) -> Found:
    match operator:
        case ",":
            unite(found, more.values())
            return found
        case "!":
            return _without(found, more)
        case "&":
            cover = Cover(more.values())
            return {key: spec for key, spec in found.items() if spec in cover}
        case "^":
            return _without(found, more) | _without(more, found)


def _without(found: Found, more: Found) -> Found:
    cover = Cover(more.values())
    return {key: spec for key, spec in found.items() if spec not in cover}


def _operators(text: str) -> Iterator[tuple[int, Operator]]:
    """Find the operators outside brackets and braces, which must be in pairs."""
    opened, closes = 0, ""
    for place, sign in enumerate(text):
        if sign in _CLOSES:
            if closes:
                _refuse(text, place, f"a second {sign} in brackets", f"close with {closes} first")
            opened, closes = place, _CLOSES[sign]
        elif sign in "]}":
            if sign != closes:
                _refuse(text, place, f"{sign} closes nothing here", "write n[1-3] or n{1..3}")
            closes = ""
        elif not closes and sign in _OPERATORS:
            yield place, _OPERATORS[sign]
    if closes:
        _refuse(text, opened, f"{text[opened]} is not closed", f"close it with {closes}")


def _operand(text: str, operator: Operator, start: int, end: int) -> Operand:
    item = text[start:end].strip()
    start += len(text[start:end]) - len(text[start:end].lstrip())
    if not item:
        _refuse(text, start, "a name is missing here", "a name on each side of , ! & ^")
    if blank := re.search(r"\s+(?![^\[{]*[\]}])", item):
        _refuse(
            text,
            start + blank.start(),
            "a blank between names",
            f"use a comma: {item[: blank.start()]},{item[blank.end() :]}",
        )
    return Operand(operator=operator, text=item, start=start)


def _slots_end(item: str) -> int:
    """Say where the name begins in ``4*small``: 0 if there are no slots."""
    match = _SLOTS.match(item)
    return match.end() if match and match.end() < len(item) else 0


def _slots(text: str, operand: Operand, start: int) -> int:
    number = operand.text[: start - 1]
    if len(number) > len(str(MOST_SLOTS)) or not 1 <= int(number) <= MOST_SLOTS:
        _refuse(text, operand.start, f"{number} slots", f"a host has 1 to {MOST_SLOTS}")
    return int(number)


def _is_wild(item: str) -> bool:
    return "*" in item or "?" in item


def _group_names(text: str, operand: Operand, item: str) -> list[str]:
    """Name the groups of ``@name``, ``@rack[1-2]``, ``@name:GLOB`` and ``@*``."""
    start = len(operand.text) - len(item) + 1
    colon = operand.text.find(":", start)
    names = list(_texts(text, operand, start, None if colon < 0 else colon))
    for one in names:
        if not is_group(one):
            _refuse(text, operand.start, f"@{one} is no group's name", "write @fast or @rack[1-2]")
    return [ALL if one == "*" else one for one in names]


def _texts(text: str, operand: Operand, start: int, end: int | None = None) -> Iterator[str]:
    """Write a part of an item out, once it is known not to be too many."""
    try:
        parsed = pattern.parse(operand.text[start:end])
    except UsageError as error:
        raise _moved(error, text, operand.start + start) from error
    if (count := parsed.count()) > MOST:
        _too_many(text, operand, count)
    return parsed.texts()


def _specs(text: str, operand: Operand, start: int) -> Iterator[HostSpec]:
    for one in _texts(text, operand, start):
        try:
            yield name.parse(one)
        except UsageError as error:
            if one != operand.text[start:]:  # written out, its places are not the item's
                error.column = 1
            raise _moved(error, text, operand.start + start) from error


def _moved(error: UsageError, text: str, start: int) -> UsageError:
    """Point at the place in the set of an error in one of its items."""
    return UsageError(error.message, hint=error.hint, text=text, column=start + (error.column or 1))


def _too_many(text: str, operand: Operand, count: int) -> NoReturn:
    shown = str(count) if count < 10**12 else "more than a million million"
    _refuse(text, operand.start, f"{shown} hosts are more than {MOST}", "name fewer hosts")


def _refuse(text: str, place: int, message: str, hint: str) -> NoReturn:
    raise UsageError(message, hint=hint, text=text, column=place + 1)
