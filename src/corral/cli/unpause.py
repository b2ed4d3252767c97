"""``corral unpause``: hand out again."""

from __future__ import annotations

from corral.cli import change, output


@output.verb("unpause")
@output.run_argument
@output.json_option
def command(run: str, *, as_json: bool) -> None:
    """Hand out tasks of RUN again."""
    change.change_run("unpause", run, said="{name} goes on", as_json=as_json)
