"""``corral report``: one HTML file about a run, to keep or to send; it needs nothing else."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from corral.cli import output
from corral.cli.follow import relative
from corral.engine import queries
from corral.master.collector import RunSource
from corral.results import collect, drafts, report

if TYPE_CHECKING:
    from typing import BinaryIO

    from corral.model.run import Run
    from corral.store.base import Reader
    from corral.store.blobs import Blobs

EVENTS = 200  # decisions that are told, the latest ones


@output.verb("report")
@output.run_argument
@click.option(
    "-o", "--out", metavar="FILE", help="Write there; - is stdout. Else with the results."
)
@output.json_option
def command(run: str, *, out: str | None, as_json: bool) -> None:
    """Write one HTML file about RUN: who did what, what failed and why, timings, results.

    It is read without network and without scripts. Works while the run is on, and when neither
    master nor hosts are there any more.
    """
    client = output.client()
    with client.reader() as reader:
        found = queries.find_run(reader, run)
        if out == "-":
            _write(sys.stdout.buffer, reader, found, client.folder.blobs)
            return
        path = Path(out) if out else collect.place_report(Path(found.options.out))
        try:
            with drafts.writing(path) as file:
                _write(file, reader, found, client.folder.blobs)
        except OSError as error:
            raise drafts.cannot_write(path, error) from error
    if as_json:
        output.print_json({"run": found.name, "out": str(path.absolute())})
    else:
        click.echo(relative(str(path.absolute())))


def _write(out: BinaryIO, reader: Reader, run: Run, blobs: Blobs) -> None:
    report.write(
        out,
        run=run,
        source=RunSource(reader, blobs, run),
        events=queries.events(reader, run, limit=EVENTS),
        now=datetime.now(UTC),
    )
