"""``corral resume``: a run without a new command: becomes or finds the master, follows to the end."""

from __future__ import annotations

import click

from corral.cli import ending, output
from corral.cli.follow import Wish, follow


@output.verb("resume")
@output.run_argument
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors and results.")
@output.json_option
@click.pass_context
def command(ctx: click.Context, run: str, *, quiet: bool, as_json: bool) -> None:
    """Go on with RUN and follow it to its end; nothing that is done is run again.

    With nothing left to do it says so, and exits as the run ended.
    """
    client = output.client()
    found = client.run(run)
    client.close()
    left = found.counts["waiting"] + found.counts["active"]
    if found.state == "done" and not left and not quiet:
        output.talk(f"{found.name}: nothing is left to do")
    wish = Wish(run=found.id, verb="resume", quiet=quiet)
    code, number = follow(client.folder, wish)
    ctx.exit(ending.tell(client.folder, number, code, quiet=quiet, as_json=as_json))
