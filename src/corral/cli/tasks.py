"""``corral tasks``: the tasks of a run, all or some."""

from __future__ import annotations

import click

from corral.cli import output
from corral.cli.select import select
from corral.engine import queries


@output.verb("tasks")
@output.run_argument
@click.argument("which", nargs=-1, metavar="[TASKS]...")
@click.option("--failed", is_flag=True, help="Only the failed ones.")
@output.json_option
def command(run: str, which: tuple[str, ...], *, failed: bool, as_json: bool) -> None:
    """List the tasks of RUN: all, or those that TASKS mean (7, 1,3,5-8, failed, T=0.5)."""
    run, which = output.run_then_tasks(run, which)
    wanted = (*which, "failed") if failed else which
    with output.client().reader() as reader:
        found = queries.find_run(reader, run)
        names = queries.generation(reader, found).names
        tasks = select(reader, found, wanted)
    if as_json:
        output.print_json({"run": found.name, "names": names, "tasks": tasks})
        return
    output.print_table(
        ("task", *names, "rep", "state", "exit", "seconds", "host", "attempts", "reason"),
        [
            (
                task.number,
                *task.values,
                task.rep,
                task.state,
                task.exit,
                task.seconds,
                task.host or None,
                task.attempts,
                task.reason,
            )
            for task in tasks
        ],
    )
