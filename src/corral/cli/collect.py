"""``corral collect``: results again, into the run's folder or by another rule to another place."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from corral.cli import output
from corral.cli.follow import relative
from corral.cli.output import talk
from corral.errors import UsageError
from corral.master.collector import RunSource, collect_run
from corral.results import drafts, gather, rules
from corral.results.joined import ENDINGS, FORMATS

if TYPE_CHECKING:
    from corral.client import Client
    from corral.model.run import Run
    from corral.results.gather import Gathered, Wish
    from corral.results.joined import Format
    from corral.results.rules import Rule


@output.verb("collect")
@output.run_argument
@click.option("--as", "rule", metavar="RULE", help=f"One of: {', '.join(rules.NAMES)}.")
@click.option("-o", "--out", metavar="FILE", help="Write there; - is stdout. A folder, if many.")
@click.option("--of", metavar="WHAT", help="stdout (usual), stderr, or a declared file.")
@click.option("--group", metavar="COLUMNS", help="Means and intervals of a table: T,L.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Of a table; else by -o.")
@click.option("--all", "everything", is_flag=True, help="Also tasks the latest command leaves out.")
@output.json_option
def command(
    run: str,
    *,
    rule: str | None,
    out: str | None,
    of: str | None,
    group: str | None,
    form: Format | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Bring RUN's results folder up to date; with --as or -o, write results to another place.

    \b
    corral collect --as tagged -o all.txt              each line led by its task
    corral collect --as table -o t.csv                 values joined with parameters
    corral collect --as table --group T,L              means and 95 % intervals
    corral collect --as split=100M --of log.txt -o d   in parts, never through a result
    corral collect --as ./collect.py -o all.txt        by a program of your own

    Works while the run is on and after it; any number of times.
    """
    if (group or form) and rule is None:
        rule = "table"
    client = output.client()
    found = client.run(run)
    if rule is not None or out is not None or of is not None:
        meant = _rule(rule or "concat", group=group, form=form)
        wish = gather.Wish(of=of, format=form or _format(out), group=_columns(group))
        where = _write(client, found, meant, out or "-", wish, everything=everything)
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


def _rule(text: str, *, group: str | None, form: Format | None) -> Rule:
    rule = rules.read(text)
    if rule.kind != "table" and (group or form):
        option = "--group" if group else "--format"
        raise UsageError(f"{option} is for tables", hint=f"corral collect --as table {option} …")
    if rule.kind == "program":
        return msgspec.structs.replace(rule, program=str(output.here() / rule.program))
    return rule


def _format(out: str | None) -> Format:
    return ENDINGS.get(Path(out or "").suffix.lower(), "csv")


def _columns(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _write(client: Client, run: Run, rule: Rule, out: str, wish: Wish, *, everything: bool) -> str:
    with client.reader() as reader:
        source = RunSource(reader, client.folder.blobs, run, everything=everything)
        if rule.makes_folder and out != "-":
            gather.into_folder(source, rule, Path(out), wish)
            return str(Path(out).absolute())
        if out == "-":
            _tell(gather.into_stream(source, rule, sys.stdout.buffer, wish))
            sys.stdout.buffer.flush()
            return out
        _tell(_write_file(source, rule, Path(out), wish))
    return str(Path(out).absolute())


def _write_file(source: RunSource, rule: Rule, path: Path, wish: Wish) -> Gathered:
    """Write a file that is there whole or not at all; what is no file (a pipe) is written into."""
    special = path.exists() and not path.is_file()
    large = None if special else path.absolute().parent
    try:
        with drafts.writing(path) as file:
            return gather.into_stream(source, rule, file, wish, folder=large)
    except OSError as error:
        raise drafts.cannot_write(path, error) from error


def _tell(gathered: Gathered) -> None:
    if gathered.without:
        talk(f"{gathered.without} of {gathered.results} results hold no value")
