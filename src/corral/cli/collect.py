"""``corral collect``: results again, into the run's folder or by another rule into a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from corral.cli import output
from corral.cli.follow import relative
from corral.errors import CorralError
from corral.master.collector import RunSource, collect_run
from corral.results import collect

if TYPE_CHECKING:
    from corral.client import Client
    from corral.model.run import Run


@output.verb("collect")
@output.run_argument
@click.option("--as", "rule", type=click.Choice(sorted(collect.RULES)), help="The collecting rule.")
@click.option("-o", "--out", metavar="FILE", help="Write there; - is stdout.")
@click.option("--all", "everything", is_flag=True, help="Also tasks the latest command leaves out.")
@output.json_option
def command(
    run: str, *, rule: str | None, out: str | None, everything: bool, as_json: bool
) -> None:
    """Bring RUN's results folder up to date; with --as or -o, write its stdout to a file.

    Works while the run is on and after it; any number of times.
    """
    client = output.client()
    found = client.run(run)
    if rule is not None or out is not None:
        where = _write(client, found, rule or "concat", out or "-", everything=everything)
    else:
        where = found.options.out
        if everything or not client.collect(found.id):
            with client.reader():
                assert client.store is not None
                collect_run(client.store, client.folder.blobs, found, everything=everything)
    if as_json:
        output.print_json({"run": found.name, "out": where})
    elif where != "-":
        click.echo(relative(where))


def _write(client: Client, run: Run, rule: str, out: str, *, everything: bool) -> str:
    with client.reader() as reader:
        source = RunSource(reader, client.folder.blobs, run, everything=everything)
        if out == "-":
            collect.collect_as(source, rule, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return out
        path = Path(out)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                collect.collect_as(source, rule, file)
            temporary.replace(path)
        except OSError as error:
            raise CorralError(
                f"{out}: cannot be written: {error.strerror}", hint="choose another place"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
    return str(path.absolute())
