"""``corral ls``: every run of this state folder, a line each."""

from __future__ import annotations

from corral.cli import output
from corral.engine import queries


@output.verb("ls")
@output.json_option
def command(*, as_json: bool) -> None:
    """List the runs, the oldest first."""
    with output.client().reader() as reader:
        runs = queries.runs(reader)
    if as_json:
        output.print_json({"runs": runs})
        return
    if not runs:
        output.talk("no run here yet; corral run COMMAND makes one")
        return
    output.print_table(
        ("run", "name", "state", "done", "failed", "tasks", "started", "command"),
        [
            (
                run.id,
                run.name,
                run.state,
                run.counts["done"],
                run.counts["failed"],
                run.tasks,
                output.when(run.opened or run.created),
                output.shorten(" ".join(run.words), 50),
            )
            for run in runs
        ],
    )
