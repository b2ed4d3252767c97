"""``corral retry``: give failed and cancelled tasks out again."""

from __future__ import annotations

import click

from corral.cli import change, output


@output.verb("retry")
@output.run_argument
@click.argument("which", nargs=-1, metavar="[TASKS]...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output.json_option
def command(run: str, which: tuple[str, ...], *, yes: bool, as_json: bool) -> None:
    """Give failed and cancelled tasks of RUN out again: all of them, or TASKS."""
    run, which = output.run_then_tasks(run, which)
    change.change_tasks(
        "retry",
        run,
        which,
        said="{name}: {tasks} to do again; follow: corral resume {name}",
        yes=yes,
        as_json=as_json,
    )
