"""``corral rm``: delete a run and its results."""

from __future__ import annotations

from pathlib import Path

import click

from corral.cli import output
from corral.cli.follow import relative
from corral.errors import UsageError
from corral.results import collect


@output.verb("rm")
@click.argument("run")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--keep-results", is_flag=True, help="Leave the results folder.")
@output.json_option
def command(run: str, *, yes: bool, keep_results: bool, as_json: bool) -> None:
    """Delete RUN: its tasks, attempts and outputs, and what corral wrote in its results folder."""
    client = output.client()
    found = client.run(run)
    what = f"{found.name}: {found.tasks} tasks, {found.counts['done']} with a result"
    if not output.ask(f"delete {what}, and {relative(found.options.out)}?", yes=yes):
        raise UsageError(f"{what}: nothing was deleted", hint="corral rm --yes deletes it")
    changed = client.change("rm", found.id)
    if not keep_results:
        collect.remove(Path(found.options.out))
    if as_json:
        output.print_json({"changed": changed})
    else:
        output.talk(f"{found.name} is deleted")
