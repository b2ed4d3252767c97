"""``corral attach``: follow a run that is under way; Ctrl-C leaves it alone."""

from __future__ import annotations

import click

from corral.cli import ending, output
from corral.cli.follow import Wish, follow
from corral.errors import StateError


@output.verb("attach")
@output.run_argument
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors and results.")
@output.json_option
@click.pass_context
def command(ctx: click.Context, run: str, *, quiet: bool, as_json: bool) -> None:
    """Follow RUN to its end. Ctrl-C ends only the following: the run goes on."""
    client = output.client()
    found = client.run(run)
    if client.folder.master() is None and found.state in ("open", "preparing"):
        raise StateError(
            f"{found.name} is open, but nobody serves it", hint=f"corral resume {found.name}"
        )
    client.close()
    code, number = follow(client.folder, Wish(run=found.id, quiet=quiet, watch=True))
    ctx.exit(ending.tell(client.folder, number, code, quiet=quiet, as_json=as_json))
