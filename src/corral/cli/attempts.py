"""``corral attempts``: who did what, every start of every task."""

from __future__ import annotations

import click

from corral.cli import output
from corral.cli.select import select
from corral.engine import queries


@output.verb("attempts")
@output.run_argument
@click.argument("which", nargs=-1, metavar="[TASKS]...")
@output.json_option
def command(run: str, which: tuple[str, ...], *, as_json: bool) -> None:
    """List every attempt of RUN, or of TASKS (7, 1,3,5-8, failed, T=0.5)."""
    with output.client().reader() as reader:
        found = queries.find_run(reader, run)
        numbers = {task.number for task in select(reader, found, which)} if which else None
        attempts = [
            attempt
            for attempt in queries.attempts(reader, found)
            if numbers is None or attempt.task in numbers
        ]
    if as_json:
        output.print_json({"run": found.name, "attempts": attempts})
        return
    output.print_table(
        ("task", "attempt", "reason", "host", "slot", "state", "started", "seconds", "exit", "why"),
        [
            (
                attempt.task,
                attempt.number,
                attempt.reason,
                attempt.host,
                attempt.slot,
                attempt.outcome or attempt.state,
                output.when(attempt.started),
                attempt.seconds,
                attempt.exit,
                attempt.message or attempt.kind or "",
            )
            for attempt in attempts
        ],
    )
