"""``corral test``: can every host be used, and does the job give the same on all of them?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from corral.cli import hosttable, output, preview
from corral.cli import run as runs
from corral.cli.folder import RealFolder
from corral.cli.hostflags import HostFlags, hosts_options, selected
from corral.cli.hostnews import ANYONE, plain_reason
from corral.cli.output import plain, talk
from corral.errors import NoHostError
from corral.fleet.survey import Checked, survey
from corral.hosts import hostset
from corral.model.host import LOCAL_SPEC
from corral.units import show_seconds, show_size
from corral.work import runfile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from corral.cli.trial import Difference, Tried
    from corral.fleet.survey import Answered

TRIVIAL = ("echo corral works",)
WORK = ("commands", "tables", "params", "arg_files")  # any of them names a job, as words do
NOT_HERE = frozenset({"dry_run", "detach", "stream", "tag", "fresh", "yes"})  # flags of run alone
SHOWN = 60  # characters of a line that differs


@output.verb("test", options_anywhere=False, optional={"--shuffle": str(runfile.SHUFFLE)})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND...]")
@output.json_option
@hosts_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    words: tuple[str, ...],
    flags: HostFlags,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Try the first task of a job on every host; compare; leave nothing there, nor here.

    \b
    corral test -w 'node[1-8]'                       can they be used? runs an echo on each
    corral test -w 'node[1-8]' './sim -T {1..5}'     ./sim -T 1 on each
    corral test job.toml                             the first task of a run file

    Takes what `corral run` takes. Checks each host as `corral hosts check` does, then runs the task
    there and compares stdout and declared files. Exit code 1: a host cannot be used, the task
    failed on one, or its output differs; 3: no host can be used.
    """
    from corral.cli.trial import try_out  # the master with it: not for --help

    here = output.here()
    specs = selected(flags) or (LOCAL_SPEC,)
    if not any((words, *(given[key] for key in WORK))):
        words = TRIVIAL
    job = runs.read_job(words, RealFolder(here), given | {"limit": 1})
    text = preview.first_command(job.asked.name, job.parsed.command)
    answers = survey(specs, "check", {"owner": "test"}, kind=Checked)
    usable = [answer.spec for answer in answers if answer.error is None]
    if not as_json:
        hosttable.show(answers)
    if not usable and not as_json:
        raise NoHostError(
            f"none of {len(answers)} hosts can be used", hint="mend what is said above"
        )
    if not quiet:
        talk(f"each host runs: {text}")
        for note in job.parsed.notes:
            talk(f"  note: {note}")
    tried = try_out(job, usable, here) if usable else []
    if as_json:
        output.print_json({"command": text, "hosts": _plainly(answers, tried)})
    else:
        _show(tried)
    well = len(usable) == len(specs) and not any(one.fault or one.difference for one in tried)
    ctx.exit(0 if well else 1 if usable else NoHostError.exit_code)


command.params += [
    option
    for option in runs.command.params
    if option.name not in NOT_HERE | {known.name for known in command.params}
]


def _show(tried: Sequence[Tried]) -> None:
    """Say in which hosts are alike, then what is wrong with the others."""
    alike = [one for one in tried if not one.fault and one.difference is None]
    usual = hostset.fold(one.host for one in alike)
    if alike:
        times = [one.seconds or 0.0 for one in alike]
        low, high = show_seconds(min(times)), show_seconds(max(times))
        took = low if low == high else f"{low} to {high}"
        same = ", the same output" if len(alike) > 1 else ""
        click.echo(f"{usual}: done in {took}{same} ({show_size(alike[0].bytes)} on stdout)")
    for names, text in hosttable.together(_wrong(tried, usual)):
        hosttable.tell(names, text)


def _wrong(tried: Iterable[Tried], usual: str) -> list[tuple[str, str]]:
    """Give each host with a fault, and what it is."""
    found: list[tuple[str, str]] = []
    for one in tried:
        if one.fault:
            said = "\n".join(filter(None, (one.fault, one.stderr, one.hint)))
            found.append((one.host, plain_reason(one.host, said)))
        elif one.difference is not None:
            hint = (
                "the same versions of program, libraries and data everywhere; or leave it out: -x"
            )
            found.append((one.host, f"{_sentence(one.difference, usual)}\n{hint} {ANYONE}"))
    return found


def _sentence(difference: Difference, usual: str) -> str:
    place = f"other output: {difference.name}, line {difference.line}"
    return f"{place}: {_quoted(difference.here)}, where {usual} says {_quoted(difference.usual)}"


def _quoted(line: str | None) -> str:
    return "nothing" if line is None else repr(output.shorten(plain(line), SHOWN))


def _plainly(answers: Sequence[Answered[Checked]], tried: Sequence[Tried]) -> list[dict[str, Any]]:
    by_host = {one.host: one for one in tried}
    return [
        hosttable.plainly(answer)
        | ({"task": by_host[name]} if (name := answer.spec.name) in by_host else {})
        for answer in answers
    ]
