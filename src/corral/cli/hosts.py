"""``corral hosts``: what sets of hosts mean, and which set means these hosts."""

from __future__ import annotations

import sys

import click

from corral.cli import output
from corral.cli.hostflags import HostFlags, hosts_options, selected
from corral.errors import UsageError


@click.group("hosts")
def command() -> None:
    """Look at hosts and at the sets that name them.

    \b
    corral hosts expand 'node[01-12]!node07'      the names, one a line
    corral hosts fold node1 node2 node3           node[1-3]
    """


@command.command("expand")
@click.argument("sets", nargs=-1, metavar="[SET]...")
@hosts_options
@click.option("-n", "--count", is_flag=True, help="Print how many they are.")
@output.json_option
def expand(sets: tuple[str, ...], *, flags: HostFlags, count: bool, as_json: bool) -> None:
    """Print the hosts that SETs and flags mean, in the order written; else all configured ones."""
    specs = selected(flags, also=sets)
    if not specs:
        raise UsageError("which hosts? none are configured", hint="corral hosts expand 'node[1-3]'")
    if as_json:
        output.print_json({"count": len(specs), "hosts": specs})
    elif count:
        click.echo(len(specs))
    else:
        click.echo("\n".join(spec.name for spec in specs))


@command.command("fold")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def fold(names: tuple[str, ...]) -> None:
    """Print the shortest set that means NAMEs, which may be sets; else those on standard input."""
    from corral.hosts import hostset

    words = names or ([] if sys.stdin.isatty() else sys.stdin.read().split())
    if not words:
        raise UsageError("which names?", hint="corral hosts fold node1 node2, or one on each line")
    click.echo(hostset.fold(spec.name for word in words for spec in hostset.expand(word)))
