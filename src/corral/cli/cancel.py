"""``corral cancel``: kill what runs, hand out nothing more."""

from __future__ import annotations

import click

from corral.cli import change, output


@output.verb("cancel")
@output.run_argument
@click.argument("which", nargs=-1, metavar="[TASKS]...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output.json_option
def command(run: str, which: tuple[str, ...], *, yes: bool, as_json: bool) -> None:
    """Kill what runs of RUN, or of TASKS (7, 1,3,5-8, T=0.5), and hand it out no more."""
    run, which = output.run_then_tasks(run, which)
    change.change_tasks(
        "cancel",
        run,
        which,
        said="{name}: {tasks} cancelled",
        yes=yes,
        as_json=as_json,
    )
