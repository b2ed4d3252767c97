"""``corral check``: what a run file means, or all that is wrong with it; nothing is started."""

from __future__ import annotations

from pathlib import Path

import click

from corral.cli import output, shipping
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
    text = folder.read(file).decode(errors="replace")
    found = runfile.load(text, path=file)
    if found.stdin is not None:
        folder.stdin = found.stdin.encode()
    parsed = runfile.check(text, path=file, folder=folder)
    ship = shipping.loads(found, parsed.ship, folder)
    shipping.refuse_doubles(parsed.command, ship)
    name = found.name or Path(file).stem
    preview(name, parsed, shipping.sizes(ship, here), hosts=(), everything=False, as_json=as_json)
