"""``corral show``: everything about one task, with the command to repeat it by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from corral.cli import output
from corral.cli.output import plain, shorten
from corral.engine import queries
from corral.scheduler import needs
from corral.units import show_size
from corral.work.render import Renderer, Setting

if TYPE_CHECKING:
    from corral.model.run import Run
    from corral.model.task import Result, Task, TaskDetail
    from corral.store.base import Reader


@output.verb("show")
@click.argument("run_and_task", nargs=-1, metavar="[RUN] TASK")
@click.option("--attempt", type=int, metavar="N", help="What that attempt left, if rejected too.")
@output.json_option
def command(run_and_task: tuple[str, ...], *, attempt: int | None, as_json: bool) -> None:
    """Show all about task number TASK of RUN: parameters, attempts, command, what it left."""
    run, number = output.run_and_task(run_and_task)
    with output.client().reader() as reader:
        found = queries.find_run(reader, run)
        task = queries.task(reader, found, number)
        text = command_of(reader, found, task)
        needed = needs.describe(queries.generation(reader, found).command.needs)
        detail = queries.task_detail(reader, found, number, command=text)
        result = (
            queries.result(reader, task)
            if attempt is None
            else queries.result_of_attempt(reader, queries.attempt(reader, task, attempt))
        )
    if as_json:
        output.print_json({"run": found.name, "detail": detail, "result": result})
        return
    _show(found, detail, result, needed=needed)


def command_of(reader: Reader, run: Run, task: Task) -> str:
    """Write a task's command as a person would type it."""
    shape = queries.generation(reader, run).command
    renderer = Renderer(shape)
    k = queries.replicate(reader, task)
    ticket = f"{run.id}-{run.generation}-{task.number}-{max(1, task.attempts)}"
    host = task.host or "localhost"
    return renderer.text(
        Setting(task.values, task.rep, k, task.number, ticket, host, shape.needs.cpus)
    )


def _show(run: Run, detail: TaskDetail, result: Result, *, needed: str) -> None:
    task = detail.task
    values = " ".join(f"{n}={v}" for n, v in zip(detail.names, task.values, strict=True))
    lines = [
        ("task", f"{task.number} of {run.name}: {task.state}"),
        ("parameters", f"{values} rep={task.rep}".strip()),
        ("command", detail.command),
    ]
    if needed:
        lines.append(("needs", needed))
    if task.reason:
        lines.append(("reason", task.reason))
    lines.append(
        ("stdout", f"{show_size(result.stdout.size)}: corral logs {run.name} {task.number}")
    )
    lines.append(("stderr", show_size(result.stderr.size)))
    if result.told:
        lines.append(("result", shorten(result.told, 200)))
    progress = detail.attempts[-1].progress if detail.attempts else ""
    if progress:
        lines.append(("progress", progress))
    lines += [("file", f"{file.name} ({show_size(file.size)})") for file in result.files]
    width = max(len(head) for head, _ in lines)
    for head, text in lines:
        click.echo(f"{head.ljust(width)}  {plain(text)}")
    click.echo()
    output.print_table(
        ("attempt", "reason", "host", "slot", "state", "started", "seconds", "exit", "why"),
        [
            (
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
            for attempt in detail.attempts
        ],
    )
