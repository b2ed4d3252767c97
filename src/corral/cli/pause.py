"""``corral pause``: hand out nothing until unpause."""

from __future__ import annotations

from corral.cli import change, output


@output.verb("pause")
@output.run_argument
@output.json_option
def command(run: str, *, as_json: bool) -> None:
    """Hand out nothing of RUN until `corral unpause`; what runs goes on."""
    change.change_run(
        "pause", run, said="{name} is paused: corral unpause {name} goes on", as_json=as_json
    )
