"""``corral status``: how a run stands, on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from corral.cli import output
from corral.cli.follow import relative
from corral.cli.hostnews import ANYONE, plain_reason
from corral.cli.output import plain
from corral.engine import queries
from corral.hosts import hostset
from corral.model.run import TASK_STATES
from corral.scheduler import needs
from corral.units import show_seconds

if TYPE_CHECKING:
    from corral.model.host import Host
    from corral.model.run import Run

PROGRESS_SHOWN = 8  # running tasks whose own words are shown; it is one screen


@output.verb("status")
@output.run_argument
@output.json_option
def command(run: str, *, as_json: bool) -> None:
    """Show how RUN (the last one, if none is named) stands."""
    client = output.client()
    with client.reader() as reader:
        found = queries.find_run(reader, run)
        hosts = queries.hosts(reader, found)
        running = queries.running(reader, found)
        needed = needs.describe(queries.generation(reader, found).command.needs)
    served = client.folder.master() is not None
    shortage = client.folder.shortage() if found.state == "open" else ""
    if as_json:
        said = {one.task: one.progress for one in running if one.progress}
        output.print_json(
            {
                "run": found,
                "hosts": hosts,
                "running": len(running),
                "progress": [{"task": task, "line": line} for task, line in said.items()],
                "master": served,
                "shortage": shortage,
            }
        )
        return
    _show(found, hosts, running, served=served, needed=needed)
    if shortage:
        output.talk(f"{shortage}; results wait on their hosts; free some, and it goes on")


def folded(hosts: list[Host]) -> list[str]:
    """Describe hosts, those that stand alike in one line, the odd ones named with their reasons."""
    alike: dict[tuple[str, int, str], list[Host]] = {}
    for host in hosts:
        texts = [text for text in (host.reason, host.note, host.unclean, host.unfit) if text]
        oddity = "; ".join(plain_reason(host.name, text) for text in texts)
        alike.setdefault((host.state, host.slots, oddity), []).append(host)
    return [_folded(state, slots, oddity, group) for (state, slots, oddity), group in alike.items()]


def _folded(state: str, slots: int, oddity: str, group: list[Host]) -> str:
    names = hostset.fold(host.name for host in group)
    text = f"{names}: {state}"
    running, done = (sum(host.running for host in group), sum(host.done for host in group))
    if state != "unreachable" or done:
        text += (
            f", {slots} slots{' each' if len(group) > 1 else ''}, {running} running, {done} done"
        )
    return text + (f": {oddity}".replace(ANYONE, names).replace("\n", "; try: ") if oddity else "")


def _show(
    run: Run, hosts: list[Host], running: list[queries.Running], *, served: bool, needed: str
) -> None:
    counts = ", ".join(f"{run.counts[state]} {state}" for state in TASK_STATES if run.counts[state])
    rows = [
        ("run", f"{run.name} ({run.id}), generation {run.generation}"),
        ("state", run.state + (f": {plain(run.reason)}" if run.reason else "")),
        ("tasks", f"{run.tasks}: {counts or 'none'}"),
        ("command", " ".join(run.words)),
        ("started", output.when(run.opened or run.created)),
        ("ended", output.when(run.ended)),
        ("a task takes", "-" if run.typical_s is None else show_seconds(run.typical_s)),
        ("results", relative(run.options.out)),
    ]
    rows += [("needs", needed)] if needed else []
    rows += [("hosts", text) for text in folded(hosts)]
    rows += [("progress", text) for text in _said(running)]
    width = max(len(head) for head, _ in rows)
    for head, text in rows:
        click.echo(f"{head.ljust(width)}  {plain(text)}")
    if not served and run.state in ("open", "preparing"):
        output.talk(f"nobody serves it: corral resume {run.name} goes on")
    elif run.state == "paused":
        output.talk(f"go on: corral unpause {run.name}")
    elif run.state == "halted":
        output.talk(f"go on: corral resume {run.name}")


def _said(running: list[queries.Running]) -> list[str]:
    """Show what tasks that run say of their progress."""
    said = [f"task {one.task}: {one.progress}" for one in running if one.progress]
    if len(said) > PROGRESS_SHOWN:
        return [*said[:PROGRESS_SHOWN], f"and {len(said) - PROGRESS_SHOWN} more: corral show TASK"]
    return said
