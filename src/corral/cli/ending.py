"""What ``run``, ``resume`` and ``attach`` say at the end: where the results are, or what to do."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from corral.cli import output, streams
from corral.cli.follow import relative
from corral.cli.output import plain, shorten, talk
from corral.client import Client
from corral.engine import queries

if TYPE_CHECKING:
    from corral.ids import RunId
    from corral.model.run import Run
    from corral.store.base import Reader
    from corral.store.folder import StateFolder

DIGEST = 3  # failures that are told; the rest stands in failed.csv


def tell(
    state: StateFolder,
    number: RunId,
    code: int,
    *,
    quiet: bool,
    as_json: bool,
    streamed: bool = False,
) -> int:
    """Print how a run ended; gives the exit code. Beside streamed lines nothing goes to stdout."""
    client = Client(state)
    try:
        with client.reader() as reader:
            run = queries.run(reader, number)
            if as_json:
                output.print_json({"run": run, "exit": code})
                return code
            if not quiet:
                _say(reader, run)
            if streamed:
                return code
            if run.tasks == 1 and run.state == "done":
                _print_single(reader, state, run)
            else:
                click.echo(relative(run.options.out))
    except BrokenPipeError:
        streams.stop_printing()  # how the run ended is still to be told by the exit code
    finally:
        client.close()
    return code


def _say(reader: Reader, run: Run) -> None:
    counts = run.counts
    if run.state in ("open", "preparing"):
        talk(f"{run.name} goes on without this terminal: corral attach {run.name}")
        return
    words = [f"{counts['done']} done"]
    words += [
        f"{counts[state]} {state}"
        for state in ("failed", "skipped", "cancelled", "parked")
        if counts[state]
    ]
    left = counts["waiting"] + counts["active"]
    if left:
        words.append(f"{left} left")
    talk(f"{run.name}: {', '.join(words)}")
    if counts["failed"]:
        _digest(reader, run)
    for host in queries.hosts_of(reader, run.id):
        if host.unclean:
            talk(f"{host.name}: {host.unclean}")
    if run.state == "paused":
        talk(f"  paused: {plain(run.reason)}")
        talk(
            f"  try: corral why {run.name}, then corral unpause {run.name}; corral resume {run.name}"
        )
    elif run.state == "halted":
        if run.reason:
            talk(f"  halted: {plain(run.reason)}")
        talk(f"  go on: corral resume {run.name}")


def _digest(reader: Reader, run: Run) -> None:
    """Tell the commonest reasons of failures, each with one task to look at."""
    reasons: dict[str, list[int]] = {}
    for task in queries.tasks(reader, run):
        if task.state == "failed":
            reasons.setdefault(task.reason, []).append(task.number)
    ranked = sorted(reasons.items(), key=lambda item: -len(item[1]))
    for reason, numbers in ranked[:DIGEST]:
        talk(f"  {len(numbers)} x {shorten(reason, 60)}: corral logs {run.name} {numbers[0]}")
    talk(f"  all of them: {relative(run.options.out)}/failed.csv; again: corral retry {run.name}")


def _print_single(reader: Reader, state: StateFolder, run: Run) -> None:
    """Print the stdout of a run that is one task."""
    for result in queries.results(reader, run):
        sys.stdout.flush()
        if result.stdout.sha256:
            with state.blobs.open(result.stdout.sha256) as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
        else:
            sys.stdout.buffer.write(result.stdout.inline)
        sys.stdout.buffer.flush()
