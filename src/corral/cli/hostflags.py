"""The flags that say which hosts, in every verb that has them, and the files they are looked up in."""

from __future__ import annotations

import functools
import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from corral.cli import output
from corral.errors import UsageError
from corral.model.base import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from corral.hosts.inventory import Aliases, Inventory, Line
    from corral.model.host import HostSpec

NAME = "hosts.toml"
UNREADABLE = (OSError, ValueError, RuntimeError)  # a NUL in a path, the home of nobody


class HostFlags(Frozen, frozen=True, kw_only=True):
    """What was typed."""

    where: tuple[str, ...]
    exclude: tuple[str, ...]
    group: tuple[str, ...]
    everything: bool
    hostfile: str | None
    ssh: str | None  # the option, else CORRAL_SSH


_OPTIONS = (
    click.option(
        "-w", "--hosts", "where", multiple=True, metavar="SET", help="These hosts: node[1-3],@gpu."
    ),
    click.option("-x", "--exclude", multiple=True, metavar="SET", help="Not these hosts."),
    click.option("-g", "--group", multiple=True, metavar="GROUP", help="The hosts of a group."),
    click.option("-a", "--all", "everything", is_flag=True, help="All configured hosts."),
    click.option("--hostfile", metavar="FILE", help="A set on each line; or another hosts.toml."),
    click.option(
        "--ssh", envvar="CORRAL_SSH", metavar="COMMAND", help="Instead of ssh: 'ssh -F file'."
    ),
)


def hosts_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the host flags to a verb; they arrive together, as ``flags``."""

    @functools.wraps(function)
    def with_flags(*words: Any, **given: Any) -> Any:
        typed = {field: given.pop(field) for field in HostFlags.__struct_fields__}
        return function(*words, flags=HostFlags(**typed), **given)

    wrapped: Callable[..., Any] = with_flags
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def selected(flags: HostFlags, *, also: tuple[str, ...] = ()) -> tuple[HostSpec, ...]:
    """Give the hosts that flags mean; ``also`` are sets named without a flag.

    With no flag: all configured hosts; no host at all if nothing is configured.

    Raises:
        UsageError: A set or a file cannot be meant, or no host is left.
    """
    from corral.hosts import inventory, sshconfig

    if flags.ssh is not None:
        sshconfig.check(flags.ssh)

    def aliases(ssh: str | None) -> tuple[str, ...]:
        return sshconfig.names(sshconfig.config(flags.ssh or ssh), RealFiles())

    known, listed = _known(flags.hostfile, aliases)
    return inventory.select(
        known,
        where=(*also, *flags.where),
        without=flags.exclude,
        groups=flags.group,
        everything=flags.everything,
        listed=listed,
        ssh=flags.ssh,
        aliases=aliases,
    )


def find(start: Path) -> Path | None:
    """Look for ``hosts.toml`` from ``start`` upwards, then where the user's settings lie.

    One of another user does not count, for it says which programs run here; it is named.
    """
    user = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "corral"
    for folder in (start, *start.parents, user):
        path = folder / NAME
        if not path.is_file():
            continue
        if path.stat().st_uid in (os.getuid(), 0):
            return path
        output.talk(f"{path} belongs to somebody else: not read, unless by --hostfile {path}")
    return None


class RealFiles:
    """See `corral.hosts.sshconfig.Files`."""

    def read(self, path: str) -> str | None:
        try:
            return Path(path).expanduser().read_text(errors="replace")
        except UNREADABLE:
            return None  # as ssh: a file that is not there says nothing

    def glob(self, pattern: str) -> list[str]:
        try:
            return sorted(glob.glob(str(Path(pattern).expanduser())))  # noqa: PTH207  (absolute patterns)
        except UNREADABLE:
            return []


def _known(hostfile: str | None, aliases: Aliases) -> tuple[Inventory, tuple[Line, ...]]:
    """Read what is configured, and the lines of a plain ``--hostfile``."""
    from corral.hosts import inventory

    if hostfile is None:
        return _configured(find(output.here()), aliases), ()
    if hostfile.endswith(".toml"):
        return _configured(Path(hostfile), aliases), ()
    listed = inventory.lines(_read(Path(hostfile)), path=hostfile)
    return _configured(find(output.here()), aliases), listed


def _configured(path: Path | None, aliases: Aliases) -> Inventory:
    from corral.hosts import hostsfile, inventory

    if path is None:
        return inventory.Inventory()
    here = output.here()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return hostsfile.load(_read(path), path=str(shown), aliases=aliases)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}", hint="check the name and its rights"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}: is not UTF-8: {error.reason} at byte {error.start}", hint="write it in UTF-8"
        ) from error
