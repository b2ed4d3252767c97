"""``corral check``: what a run file means, or all that is wrong with it; nothing is started."""

from __future__ import annotations

import click

from corral.cli import output, runfiles, shipping
from corral.cli.folder import RealFolder
from corral.cli.preview import preview
from corral.work import runfile


@output.verb("check")
@click.argument("file", default="job.toml", metavar="[FILE]")
@output.json_option
def command(file: str, *, as_json: bool) -> None:
    """Check the run file FILE (job.toml, if none is named): exit 0, or 2 with all its errors."""
    here = output.here()
    folder = RealFolder(here)
    parsed = runfiles.check(file, folder)
    found = runfile.load(runfiles.read(file, folder), path=file)
    ship = shipping.loads(found, parsed.ship, folder)
    shipping.refuse_doubles(parsed.command, ship)
    name = found.name or runfiles.natural_name(file)
    preview(name, parsed, shipping.sizes(ship, here), hosts=(), everything=False, as_json=as_json)
