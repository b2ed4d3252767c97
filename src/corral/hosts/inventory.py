"""Which hosts are configured, which of them are meant, and what is said about those?"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from corral.errors import UsageError
from corral.hosts import hostset
from corral.hosts.hostset import ALL, Cover, Expander
from corral.model.base import Frozen

if TYPE_CHECKING:
    from corral.model.host import HostSpec

Aliases = Callable[[str | None], Sequence[str]]
"""Lists the names in ssh_config when they are asked for, given the ssh command of the inventory."""

SSH = "ssh"  # the group of all concrete names in ssh_config


class Settings(Frozen, frozen=True, kw_only=True):
    """What a table of a host says; None = it does not say."""

    host: str | None = None  # its address, if that is not its name
    user: str | None = None
    port: int | None = None
    slots: int | None = None
    tags: tuple[str, ...] = ()
    resources: dict[str, int] = msgspec.field(default_factory=dict)  # that tasks may need: gpu
    env: dict[str, str] = msgspec.field(default_factory=dict)
    setup: str | None = None
    python: str | None = None
    workdir: str | None = None
    ssh: str | None = None


class Table(Frozen, frozen=True, kw_only=True):
    """``[hosts."SET"]``: settings for the hosts of a set."""

    text: str  # the set
    settings: Settings


class Inventory(Frozen, frozen=True, kw_only=True):
    """What is configured; empty if there is no file."""

    ssh: str | None = None  # the ssh program with options, for hosts that have none of their own
    groups: dict[str, tuple[str, ...]] = msgspec.field(
        default_factory=dict
    )  # the sets that each unites
    tables: tuple[Table, ...] = ()  # a later one overrides


class Line(Frozen, frozen=True, kw_only=True):
    """A set in a plain hostfile."""

    text: str
    place: str  # ``hosts.txt:3``


class Groups:
    """The groups of an inventory: its own, its tags, ``all``, and ``ssh``.

    ``all`` unites the hosts of the tables and groups, without the sets that are made of ``all``.
    """

    def __init__(self, inventory: Inventory, aliases: Aliases) -> None:
        self._aliases = functools.partial(aliases, inventory.ssh)
        self._sets = {group: list(sets) for group, sets in inventory.groups.items()}
        for table in inventory.tables:
            for tag in table.settings.tags:
                self._sets.setdefault(tag, []).append(table.text)
        written = [(table.text,) for table in inventory.tables]
        self._members = [
            text
            for sets in (*written, *inventory.groups.values())
            if not any(map(self._needs_all, sets))
            for text in sets
        ]

    def names(self) -> Sequence[str]:
        return tuple(self._sets)

    def find(self, group: str) -> Sequence[str] | None:
        if group in self._sets:
            return self._sets[group]
        if group == SSH:
            return self._aliases()
        if group == ALL and self._members:
            return self._members
        return None

    def _needs_all(self, text: str) -> bool:
        """Say whether a set is made of all hosts, and so does not help to say which those are."""
        seen: set[str] = set()
        ahead = [text]
        while ahead:
            for group in hostset.references(ahead.pop()) - seen:
                if group == ALL:
                    return True
                seen.add(group)
                ahead += self._sets.get(group, ())
        return False


def no_aliases(ssh: str | None) -> Sequence[str]:
    """Know no ssh_config."""
    del ssh
    return ()


def lines(text: str, *, path: str) -> tuple[Line, ...]:
    """Read a plain hostfile: a set per line; ``#`` starts a comment.

    Raises:
        UsageError: There is no set in it.
    """
    found = [
        Line(text=kept, place=f"{path}:{number}")
        for number, line in enumerate(text.split("\n"), 1)
        if (kept := re.sub(r"(^|\s)#.*", "", line).strip())
    ]
    if not found:
        raise UsageError(f"{path}: there is no host in it", hint="a name or a set on each line")
    return tuple(found)


def select(
    inventory: Inventory,
    *,
    where: Sequence[str] = (),
    without: Sequence[str] = (),
    groups: Sequence[str] = (),
    everything: bool = False,
    listed: Sequence[Line] = (),
    ssh: str | None = None,
    aliases: Aliases = no_aliases,
) -> tuple[HostSpec, ...]:
    """Give the hosts that flags mean, in the order written, with what is configured for them.

    ``where`` holds sets, ``groups`` sets of groups' names, ``listed`` the lines of a hostfile, all
    of which add up; ``without`` is taken away. With none of them: all configured hosts, or no host
    at all if nothing is configured. ``ssh`` is the command's; a host's own wins, the inventory's
    does not.

    Raises:
        UsageError: A set cannot be meant, or no host is left.
    """
    known = Groups(inventory, aliases)
    expander = Expander(known)
    asked = [*where, *map(_of_groups, groups), *([f"@{ALL}"] if everything else [])]
    if not asked and not listed:
        if not without and not known.find(ALL):
            return ()
        asked = [f"@{ALL}"]
    found: dict[str, HostSpec] = {}
    for text in asked:
        hostset.unite(found, expander.expand(text))
    for line in listed:
        hostset.unite(found, _expand_line(expander, line))
    if len(found) > hostset.MOST:
        raise UsageError(
            f"{len(found)} hosts are more than {hostset.MOST}", hint="name fewer hosts"
        )
    for text in without:
        cover = Cover(expander.members(text, taken=True))
        found = {key: spec for key, spec in found.items() if spec not in cover}
    if not found:
        raise UsageError("no host is left", hint="corral hosts expand SET shows what a set means")
    specs = _configured(tuple(found.values()), inventory, expander)
    return _by_ssh(specs, ssh or inventory.ssh)


def _of_groups(text: str) -> str:
    """Make a set of groups' names a set: ``fast,slow!down`` is ``@fast,@slow!@down``."""
    signs = ""
    for operand in hostset.operands(text):
        signs += f"{operand.operator if signs else ''}@{operand.text.removeprefix('@')}"
    return signs


def _expand_line(expander: Expander, line: Line) -> tuple[HostSpec, ...]:
    try:
        return expander.expand(line.text)
    except UsageError as error:
        raise UsageError(
            f"{line.place}: {error.message}",
            hint=error.hint,
            text=error.text,
            column=error.column,
        ) from error


def _configured(
    specs: tuple[HostSpec, ...], inventory: Inventory, expander: Expander
) -> tuple[HostSpec, ...]:
    """Put onto hosts what the tables say; what was written with the name itself wins."""
    said = [Settings()] * len(specs)
    places: dict[str, list[int]] = {}  # of specs, by host: tables and hosts may be many
    for index, spec in enumerate(specs):
        places.setdefault(spec.host, []).append(index)
    for table in inventory.tables:
        members = expander.members(table.text)
        cover = Cover(members)
        slots = {member.host: member.slots for member in members if member.slots is not None}
        near = {index for member in members for index in places.get(member.host, ())}
        for index in near:
            spec = specs[index]
            if spec in cover:
                more = table.settings
                if more.slots is None and spec.host in slots:
                    more = msgspec.structs.replace(more, slots=slots[spec.host])
                said[index] = _over(said[index], more)
    return tuple(_applied(spec, settings) for spec, settings in zip(specs, said, strict=True))


def _over(base: Settings, more: Settings) -> Settings:
    """Lay settings over others; tags add up, environments and resources name by name."""
    values = {
        field: value
        for field in Settings.__struct_fields__
        if (value := getattr(more, field)) is not None
    }
    values["tags"] = tuple(dict.fromkeys((*base.tags, *more.tags)))
    values["env"] = base.env | more.env
    values["resources"] = base.resources | more.resources
    return msgspec.structs.replace(base, **values)


def _applied(spec: HostSpec, said: Settings) -> HostSpec:
    return msgspec.structs.replace(
        spec,
        host=said.host or spec.host,
        user=said.user if spec.user is None else spec.user,
        port=said.port if spec.port is None else spec.port,
        slots=said.slots if spec.slots is None else spec.slots,
        tags=said.tags,
        resources=said.resources,
        env=said.env,
        setup=said.setup or "",
        python=said.python,
        workdir=said.workdir,
        ssh=said.ssh,
    )


def _by_ssh(specs: tuple[HostSpec, ...], ssh: str | None) -> tuple[HostSpec, ...]:
    """Give the hosts that have no ssh command of their own this one."""
    return tuple(
        spec if spec.ssh is not None else msgspec.structs.replace(spec, ssh=ssh) for spec in specs
    )
