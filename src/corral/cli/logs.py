"""``corral logs``: what tasks wrote, on stdout and stderr."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, BinaryIO

import click

from corral.cli import output
from corral.cli.select import select
from corral.cli.tail import TaskTail
from corral.engine import queries
from corral.errors import UsageError
from corral.master.collector import RunSource
from corral.results.content import Content

if TYPE_CHECKING:
    from corral.client import Client
    from corral.model.run import TaskState
    from corral.model.task import Captured, Result, Task
    from corral.store.base import Reader
    from corral.store.blobs import Blobs

WELL = ("done", "skipped")  # as in a run's exit code


@output.verb("logs")
@output.run_argument
@click.argument("which", nargs=-1, metavar="[TASKS]...")
@click.option("--stdout", "only", flag_value="stdout", help="Only what went to stdout.")
@click.option("--stderr", "only", flag_value="stderr", help="Only what went to stderr.")
@click.option("--of", metavar="FILE", help="A declared file in place of what was printed.")
@click.option("--attempt", type=int, metavar="N", help="Of that attempt, also a rejected one.")
@click.option("-f", "--follow", is_flag=True, help="Go on while the task runs, to its end.")
@output.json_option
@click.pass_context
def command(
    ctx: click.Context,
    run: str,
    which: tuple[str, ...],
    *,
    only: str | None,
    of: str | None,
    attempt: int | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Print what tasks of RUN wrote: stdout to stdout, stderr to stderr, in order.

    Of a failed task, what its latest attempt wrote. `corral logs 7` is task 7 of the last run,
    `corral logs 7 --attempt 1` what its first attempt wrote, whatever became of it. `corral logs 7 -f`
    prints what task 7 writes while it runs, on whichever host, and ends when the task does: with
    exit code 0 if it is done (or skipped), 1 if it failed, was cancelled or parked.
    """
    run, which = output.run_then_tasks(run, which)
    client = output.client()
    if follow:
        _see_followable(of=of, attempt=attempt, as_json=as_json)
        ended = _follow(client, run, which, only=only)
        ctx.exit(0 if ended in WELL else 1)
    blobs = client.folder.blobs
    with client.reader() as reader:
        found = queries.find_run(reader, run)
        tasks = select(reader, found, which)
        if as_json:
            shown = [_as_json(_left_by(reader, task, attempt), blobs) for task in tasks]
            output.print_json({"run": found.name, "logs": shown})
            return
        content = None if of is None else Content(RunSource(reader, blobs, found), of)
        for task in tasks:
            result = _left_by(reader, task, attempt)
            if content is not None:
                sys.stdout.buffer.writelines(content.chunks(result))
                sys.stdout.buffer.flush()
                continue
            if only != "stderr":
                _write(result.stdout, blobs, sys.stdout.buffer)
            if only != "stdout":
                to = sys.stdout.buffer if only == "stderr" else sys.stderr.buffer
                _write(result.stderr, blobs, to)
        waiting = [task.number for task in tasks if task.state in ("waiting", "active")]
    if waiting and len(waiting) == len(tasks):
        output.talk(f"no output yet: task {waiting[0]} has not ended")


def _see_followable(*, of: str | None, attempt: int | None, as_json: bool) -> None:
    """Only what a task prints can be had while it runs, and of whichever attempt counts."""
    given = {"--of": of is not None, "--attempt": attempt is not None, "--json": as_json}
    for flag in (flag for flag, is_given in given.items() if is_given):
        raise UsageError(f"-f and {flag} do not go together", hint=f"leave {flag}, or -f")


def _follow(client: Client, run: str, which: tuple[str, ...], *, only: str | None) -> TaskState:
    with client.reader() as reader:
        found = queries.find_run(reader, run)
        tasks = select(reader, found, which)
    if len(tasks) != 1:
        raise UsageError(
            f"-f follows one task, and these are {len(tasks)}",
            hint=f"corral logs {found.name} 1 -f",
        )
    out, err = sys.stdout.buffer, sys.stderr.buffer
    return TaskTail(
        client,
        found,
        tasks[0].number,
        stdout=None if only == "stderr" else out,
        stderr=None if only == "stdout" else out if only == "stderr" else err,
    ).follow()


def _left_by(reader: Reader, task: Task, attempt: int | None) -> Result:
    if attempt is None:
        return queries.result(reader, task)
    return queries.result_of_attempt(reader, queries.attempt(reader, task, attempt))


def _write(captured: Captured, blobs: Blobs, to: BinaryIO) -> None:
    if captured.sha256:
        with blobs.open(captured.sha256) as file:
            shutil.copyfileobj(file, to)
    else:
        to.write(captured.inline)
    to.flush()


def _as_json(result: Result, blobs: Blobs) -> dict[str, object]:
    return {
        "task": result.number,
        "state": result.state,
        "stdout": _text(result.stdout, blobs),
        "stderr": _text(result.stderr, blobs),
    }


def _text(captured: Captured, blobs: Blobs) -> str:
    if not captured.sha256:
        return captured.inline.decode(errors="replace")
    with blobs.open(captured.sha256) as file:
        return file.read().decode(errors="replace")
