"""What the verbs that change a run have in common: find it, ask, do it, say what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.cli import output
from corral.cli.select import select
from corral.engine import queries
from corral.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.engine.control import Changed

ASK_ABOVE = 100  # tasks: so many are not thrown away without a question


def change_run(verb: str, run: str, *, said: str, as_json: bool) -> Changed:
    """Carry out a verb on a whole run."""
    client = output.client()
    changed = client.change(verb, client.run(run).id)
    _tell(changed, said, as_json=as_json)
    return changed


def change_tasks(
    verb: str, run: str, which: Sequence[str], *, said: str, yes: bool, as_json: bool
) -> Changed:
    """Carry out a verb on some tasks of a run, or all of it."""
    client = output.client()
    with client.reader() as reader:
        found = queries.find_run(reader, run)
        tasks = select(reader, found, which) if which else None
    number = found.tasks if tasks is None else len(tasks)
    if (
        verb != "retry"
        and number > ASK_ABOVE
        and not output.ask(f"{verb} {number} tasks of {found.name}?", yes=yes)
    ):
        raise UsageError(f"{number} tasks: nothing was done", hint=f"corral {verb} --yes")
    ids = None if tasks is None else [task.id for task in tasks]
    changed = client.change(verb, found.id, ids)
    _tell(changed, said, as_json=as_json)
    return changed


def _tell(changed: Changed, said: str, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"changed": changed})
    else:
        tasks = output.counted(changed.tasks, "task")
        output.talk(said.format(name=changed.name, tasks=tasks))
