"""``corral rerun``: give tasks out again, whatever they are."""

from __future__ import annotations

import click

from corral.cli import change, output
from corral.errors import UsageError


@output.verb("rerun")
@output.run_argument
@click.argument("which", nargs=-1, metavar="[TASKS]...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output.json_option
def command(run: str, which: tuple[str, ...], *, yes: bool, as_json: bool) -> None:
    """Give TASKS of RUN out again, also those that are done; results they have stop counting."""
    run, which = output.run_then_tasks(run, which)
    if not which:
        raise UsageError(
            "rerun which tasks?", hint=f"corral rerun {run} 3,5-8, or: corral rerun {run} all"
        )
    change.change_tasks(
        "rerun",
        run,
        which,
        said="{name}: {tasks} to do again; follow: corral resume {name}",
        yes=yes,
        as_json=as_json,
    )
