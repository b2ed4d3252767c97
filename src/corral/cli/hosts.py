"""``corral hosts``: what sets of hosts mean, how the hosts stand, whether they can be used."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from corral.cli import output
from corral.cli.hostflags import HostFlags, hosts_options, selected
from corral.errors import NoHostError, UsageError
from corral.model.host import LOCAL_SPEC

if TYPE_CHECKING:
    from corral.model.host import Host


@click.group("hosts", invoke_without_command=True)
@output.json_option
@click.pass_context
def command(ctx: click.Context, /, *, as_json: bool) -> None:
    """Look at hosts and at the sets that name them; alone: how they stand.

    \b
    corral hosts                                  those of the runs here
    corral hosts check -w 'node[01-12]'           can they be used, and are they alike?
    corral hosts expand 'node[01-12]!node07'      the names, one a line
    corral hosts fold node1 node2 node3           node[1-3]
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(ls, as_json=as_json)
    elif as_json:
        raise UsageError(
            "--json stands before the verb", hint=f"corral hosts {ctx.invoked_subcommand} … --json"
        )


@command.command("ls")
@output.json_option
def ls(*, as_json: bool = False) -> None:
    """List the hosts of the runs here: state, what they do and did, what is odd about them."""
    from corral.engine import queries

    with output.client().reader() as reader:
        hosts = queries.hosts(reader)
    if as_json:
        output.print_json({"hosts": hosts})
        return
    output.print_table(
        ("host", "state", "slots", "running", "done", "failed", ""),
        [
            (host.name, host.state, host.slots, host.running, host.done, host.failed, _odd(host))
            for host in hosts
        ],
    )


def _odd(host: Host) -> str:
    texts = (host.reason, host.note, host.unclean)
    return "; ".join(text.replace("\n", "; try: ") for text in texts if text)


@command.command("check")
@hosts_options
@output.json_option
@click.pass_context
def check(ctx: click.Context, /, *, flags: HostFlags, as_json: bool) -> None:
    """Log in to every host and say whether it can be used, and which are unlike the others.

    It starts the agent's program there, which finds a place for its folder, runs the host's
    setup, and leaves nothing. Exit code 1: some cannot be used; 3: none can.
    """
    from corral.cli import hosttable
    from corral.fleet.survey import Checked, survey
    from corral.store.folder import StateFolder

    specs = selected(flags) or (LOCAL_SPEC,)
    folder = StateFolder.find(output.here())
    owner = folder.owner if folder is not None else "check"
    answers = survey(specs, "check", {"owner": owner}, kind=Checked)
    if as_json:
        output.print_json({"hosts": [hosttable.plainly(answer) for answer in answers]})
    else:
        hosttable.show(answers)
    failed = sum(answer.error is not None for answer in answers)
    if failed == len(answers):
        raise NoHostError(f"none of {failed} hosts can be used", hint="mend what is said above")
    ctx.exit(1 if failed else 0)


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
@output.json_option
def fold(names: tuple[str, ...], *, as_json: bool) -> None:
    """Print the shortest set that means NAMEs, which may be sets; else those on standard input."""
    from corral.hosts import hostset

    words = names or ([] if sys.stdin.isatty() else sys.stdin.read().split())
    if not words:
        raise UsageError("which names?", hint="corral hosts fold node1 node2, or one on each line")
    hosts = dict.fromkeys(spec.name for word in words for spec in hostset.expand(word))
    folded = hostset.fold(hosts)
    if as_json:
        output.print_json({"count": len(hosts), "set": folded})
    else:
        click.echo(folded)
