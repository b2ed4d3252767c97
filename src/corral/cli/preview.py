"""Shows what a command was understood to mean, before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from corral.cli import output
from corral.cli.output import plain, talk
from corral.hosts import hostset
from corral.model.command import Range
from corral.model.host import LOCAL
from corral.scheduler import needs
from corral.units import show_size
from corral.work.render import Renderer, Setting
from corral.work.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.model.command import Axis, Choice, Command
    from corral.model.host import HostSpec
    from corral.work.command import Parsed
    from corral.work.sweep import Row

SHOWN = 5  # shipped files that are named one by one


def preview(
    name: str,
    parsed: Parsed,
    ships: Sequence[tuple[str, int]],
    hosts: Sequence[HostSpec],
    *,
    everything: bool,
    as_json: bool,
) -> None:
    """Say how many tasks, which axes, first and last command, what is shipped, what is text, where."""
    sweep = Sweep.of(parsed.command)
    if as_json:
        output.print_json(
            {
                "name": name,
                "tasks": len(sweep),
                "axes": [{"name": axis.name, "values": len(axis)} for axis in parsed.command.axes],
                "reps": parsed.command.reps,
                "first": _command(parsed.command, sweep, 0, name),
                "last": _command(parsed.command, sweep, len(sweep) - 1, name),
                "ships": [{"path": path, "size": size} for path, size in ships],
                "notes": list(parsed.notes),
                "needs": parsed.command.needs,
                "hosts": [host.name for host in hosts],
            }
        )
        return
    for line in [*_lines(name, parsed, sweep, ships), *_places(hosts)]:
        talk(line)
    if everything:
        renderer = Renderer(parsed.command)
        for index, row in enumerate(sweep):
            click.echo(_text(renderer, row, index, name, cpus=parsed.command.needs.cpus))


def first_command(name: str, command: Command) -> str:
    """Give the first task's command, as a person would type it."""
    return _command(command, Sweep.of(command), 0, name)


def _lines(name: str, parsed: Parsed, sweep: Sweep, ships: Sequence[tuple[str, int]]) -> list[str]:
    command = parsed.command
    lines = [f"{name}: {_how_many(command, len(sweep))}"]
    if len(sweep) > 1:
        lines.append(f"  first: {_command(command, sweep, 0, name)}")
        lines.append(f"  last:  {_command(command, sweep, len(sweep) - 1, name)}")
    if ships:
        listed = ", ".join(f"{path} ({show_size(size)})" for path, size in ships[:SHOWN])
        more = f" and {len(ships) - SHOWN} more" if len(ships) > SHOWN else ""
        lines.append(f"  ships: {listed}{more}")
    if command.templates:
        made = ", ".join(f"{one.path} (from {one.source})" for one in command.templates)
        lines.append(f"  makes: {made}")
    if text := needs.describe(command.needs):
        lines.append(f"  needs: {text}")
    if not command.axes and command.reps == 1:
        lines.append("  1 task: nothing varies. If you wrote {1..5} without quotes,")
        lines.append("  your shell expanded it first.")
    lines += [f"  note: {note}" for note in parsed.notes]
    return lines


def _places(hosts: Sequence[HostSpec]) -> list[str]:
    """Name the hosts, unless it is this machine alone."""
    if all(host.is_here for host in hosts):
        return []
    names = hostset.fold(host.name for host in hosts)
    return [f"  on:    {names}" + (f" ({len(hosts)} hosts)" if len(hosts) > 1 else "")]


def _how_many(command: Command, tasks: int) -> str:
    if tasks == 1:
        return "1 task"
    inner = {name for names in command.together for name in names[1:]}
    groups = {names[0]: ", ".join(names) for names in command.together}
    factors = [
        f"{groups.get(axis.name, axis.name)} ({_values(axis)})"
        for axis in command.axes
        if axis.name not in inner
    ]
    if command.reps > 1:
        factors.append(f"{command.reps} replicates")
    combinations = " x ".join(factors)
    return f"{tasks} tasks {'of' if _chosen(command.choice) else '='} {combinations}"


def _chosen(choice: Choice) -> bool:
    """Say whether some combinations may be left out."""
    return bool(choice.where) or choice.limit is not None


def _values(axis: Axis) -> str:
    if isinstance(axis, Range) and len(axis) > 1:
        return f"{axis.value(0)}..{axis.value(len(axis) - 1)}: {len(axis)}"
    return str(len(axis))


def _command(command: Command, sweep: Sweep, index: int, name: str) -> str:
    return _text(Renderer(command), sweep[index], index, name, cpus=command.needs.cpus)


def _text(renderer: Renderer, row: Row, index: int, name: str, *, cpus: int) -> str:
    ticket = f"{name}-{index + 1}"
    setting = Setting(row.values, row.rep, row.k, index + 1, ticket, LOCAL, cpus)
    return plain(renderer.text(setting))
