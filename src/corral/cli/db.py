"""``corral db check``: does the state folder keep every promise?"""

from __future__ import annotations

import click

from corral.cli import output
from corral.cli.output import plain, talk


@click.group("db")
def command() -> None:
    """Look after the state folder's database."""


@command.command("check")
@click.option("--deep", is_flag=True, help="Hash all content, too: as long as reading it takes.")
@output.json_option
@click.pass_context
def check(ctx: click.Context, /, *, deep: bool, as_json: bool) -> None:
    """Verify every promise on the state folder found from here upwards. Exit code 1: one is broken."""
    from corral.engine import audit

    client = output.client()
    with client.reader() as reader:
        found = audit.database(reader)
        found += audit.contents(reader, client.folder.blobs, deep=deep)
    if as_json:
        output.print_json({"checks": len(audit.CHECKS) + 1, "breaches": found})
    else:
        for breach in found:
            click.echo(plain(f"{breach.what}: {breach.where}"))
        broken = len({breach.what for breach in found})
        talk(f"{broken} of {len(audit.CHECKS) + 1} promises broken" if found else
             f"all {len(audit.CHECKS) + 1} promises kept")  # fmt: skip
    ctx.exit(1 if found else 0)
