"""``corral stop``: let running tasks finish, then halt."""

from __future__ import annotations

from corral.cli import change, output


@output.verb("stop")
@output.run_argument
@output.json_option
def command(run: str, *, as_json: bool) -> None:
    """Let running tasks of RUN finish and hand out no more; `corral resume` goes on."""
    change.change_run(
        "stop", run, said="{name} is halted: corral resume {name} goes on", as_json=as_json
    )
