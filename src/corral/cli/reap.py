"""``corral reap``: ends and removes what corral left on hosts, also without any state of its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from corral.cli import hosttable, output
from corral.cli.hostflags import HostFlags, hosts_options, selected
from corral.cli.output import plain, talk
from corral.errors import NoHostError, UsageError
from corral.model.base import Frozen
from corral.model.host import LOCAL_SPEC
from corral.store.folder import StateFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.fleet.survey import Answered


class Remains(Frozen, frozen=True, kw_only=True):
    """An agent, dead or alive, with what it has on a host; the agent's ``reap`` says it."""

    owner: str
    incarnation: str
    folder: str  # "" if only processes are left
    lives: bool
    processes: int
    unclean: tuple[int, ...] = ()  # pids that could not be killed


class Found(Frozen, frozen=True, kw_only=True):
    """What a host says to ``reap``."""

    agents: tuple[Remains, ...]


@output.verb("reap")
@hosts_options
@click.option("--owner", metavar="ID", help="Of this state folder; else the one here, if any.")
@click.option("--every-owner", is_flag=True, help="Of every state folder that uses this account.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what is there; end nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output.json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    flags: HostFlags,
    owner: str | None,
    every_owner: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """End agents and their tasks on hosts, remove their folders; nothing else is touched.

    Ordinarily nothing is left on any host. What a double fault or a host that was cut off leaves
    is found by its tags and folders. Without a state folder here: those of all that use the
    account. Agents of a run that goes on are found, too: look first (-n).
    """
    from corral.fleet.survey import survey

    owner = _owner(owner, every_owner=every_owner)
    specs = selected(flags) or (LOCAL_SPEC,)
    answers = survey(specs, "reap", {"owner": owner, "kill": False}, kind=Found)
    found = _remains(answers)
    unasked, untouched = _failed(answers), []
    if not as_json:
        _show(found)
        _tell_failures(unasked)
    kill = bool(found) and not dry_run
    if kill and not output.ask(f"end and remove {len(found)} of them?", yes=yes):
        raise UsageError("nothing was ended", hint="corral reap --yes does not ask")
    if kill:
        having = {name for name, _ in found}
        again = [spec for spec in specs if spec.name in having]
        told = survey(again, "reap", {"owner": owner, "kill": True}, kind=Found)
        found, untouched = _remains(told), _failed(told)
    failed = unasked + untouched
    if as_json:
        remains = [{"host": name, "agent": one} for name, one in found]
        errors = [hosttable.problem(answer) for answer in failed]
        output.print_json({"found": remains, "ended": kill, "errors": errors})
    elif kill:
        _tell(found)
        _tell_failures(untouched)
    if len(unasked) == len(answers):
        raise NoHostError(f"none of {len(answers)} hosts can be asked", hint="see above")
    ctx.exit(1 if failed or any(one.unclean for _, one in found) else 0)


def _owner(owner: str | None, *, every_owner: bool) -> str | None:
    """Say whose remains are meant; None = those of everybody that uses the account."""
    if owner is not None and every_owner:
        raise UsageError("--owner and --every-owner together", hint="give one of them")
    if owner is not None or every_owner:
        return owner
    folder = StateFolder.find(output.here())
    return None if folder is None else folder.owner


def _remains(answers: Sequence[Answered[Found]]) -> list[tuple[str, Remains]]:
    return [
        (answer.spec.name, remains)
        for answer in answers
        if answer.said is not None
        for remains in answer.said.agents
    ]


def _failed(answers: Sequence[Answered[Found]]) -> list[Answered[Found]]:
    return [answer for answer in answers if answer.error is not None]


def _show(found: Sequence[tuple[str, Remains]]) -> None:
    if found:
        output.print_table(
            ("host", "owner", "agent", "state", "processes", "folder"),
            [
                (
                    name,
                    one.owner,
                    one.incarnation,
                    "alive" if one.lives else "dead",
                    one.processes,
                    one.folder,
                )
                for name, one in found
            ],
        )
    else:
        talk("nothing of corral is there")


def _tell_failures(answers: Sequence[Answered[Found]]) -> None:
    for names, text in hosttable.failures(answers):
        talk(f"{names}: {plain(text)}".replace("\n", "\n  try: "))


def _tell(told: Sequence[tuple[str, Remains]]) -> None:
    """Say how many were ended, and which would not die."""
    unclean = [(name, one) for name, one in told if one.unclean]
    talk(f"ended and removed: {len(told) - len(unclean)}")
    for name, one in unclean:
        pids = " ".join(map(str, one.unclean))
        talk(f"{name}: cannot be killed: {pids}")
