"""``corral run``: reads the command, shows what it means, submits it and follows it to its end."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from corral.cli import ending, output, runfiles, shipping
from corral.cli.fitting import fitting
from corral.cli.folder import RealFolder
from corral.cli.follow import Wish, follow, start_detached, summary
from corral.cli.hostflags import hosts_options, selected
from corral.cli.limitflags import KEYS, limit_options
from corral.cli.output import talk
from corral.cli.preview import preview
from corral.cli.stream import Stream
from corral.client import Client
from corral.engine import needs as engine_needs
from corral.errors import MasterError, UsageError
from corral.model.base import Frozen
from corral.model.host import LOCAL_SPEC
from corral.model.needs import Needs
from corral.model.run import EXIT_MEANINGS, ExitMeaning, Options, Submission
from corral.store.folder import StateFolder
from corral.units import seconds
from corral.work import axes, identity, limits, needs, runfile
from corral.work.command import Parsed
from corral.work.runfile import RunFile
from corral.work.sources import Source, split
from corral.work.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from corral.cli.hostflags import HostFlags
    from corral.model.host import HostSpec

F = TypeVar("F", bound=Frozen)

START_S = 20.0  # a master in the background is there within a fraction of it
MOST_TASKS = 10**9  # of one run; more is a slip of the keyboard
ASK_ABOVE = 1_000_000  # tasks; so many are asked for once more on a terminal


class Asked(Frozen, frozen=True, kw_only=True):
    """What was typed, file and options together."""

    file: RunFile
    name: str
    named: bool
    add_env: dict[str, str]
    fresh: bool


class Job(Frozen, frozen=True, kw_only=True):
    """A command as it was understood, with the files here that it ships."""

    asked: Asked
    parsed: Parsed
    ship: tuple[shipping.Load, ...]


@output.verb("run", options_anywhere=False, optional={"--shuffle": str(runfile.SHUFFLE)})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="COMMAND...")
@click.option("-r", "--reps", type=int, help="Replicates of every setting: {rep} is 1..N.")
@click.option(
    "-p",
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUES",
    help="An axis by name: -p T=1..5:.5 -p L=16,32 (braces then only refer).",
)
@click.option(
    "--arg-file",
    "arg_files",
    multiple=True,
    metavar="FILE",
    help="Values for {1}, {2}, …: the lines of a file, as :::: FILE.",
)
@click.option(
    "--params", "tables", multiple=True, metavar="FILE", help="Settings from CSV, TSV, JSON Lines."
)
@click.option("-f", "--commands", metavar="FILE", help="Run each line of a file (- = stdin).")
@click.option("--counts", is_flag=True, default=None, help='Lines of -f may begin with "10x".')
@click.option(
    "--zip", is_flag=True, default=None, help="Take first with first, second with second."
)
@click.option(
    "--where",
    "condition",
    metavar="EXPR",
    help="Only combinations for which this holds: 'T*L < 100'.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N tasks.")
@click.option(
    "--shuffle", type=int, metavar="[=KEY]", help="Another order: always the same one for a KEY."
)
@click.option("--axes", is_flag=True, default=None, help="Braces are axes too, beside -p, :::, -f.")
@click.option("--plain", is_flag=True, default=None, help="No brace means anything.")
@click.option("-I", "--mark", metavar="MARK", help="MARK stands for the value, as {} does.")
@click.option(
    "--exit-code",
    "exit_codes",
    multiple=True,
    metavar="N=MEANING",
    help="What exit code N says: again, skip or fatal.",
)
@click.option("--push", multiple=True, metavar="FILE", help="Ship a file, folder or pattern.")
@click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="FILE",
    help="Bring a file home and require it, as {>FILE} in the command.",
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="FILE=TEMPLATE",
    help="Make an input file for each task from a jinja2 template.",
)
@click.option("--here", is_flag=True, default=None, help="Run in this folder, ship nothing.")
@click.option("--name", help="The run's name; else the program's.")
@click.option("-o", "--out", metavar="DIR", help="Where results go; else results/NAME.")
@click.option("-j", "--slots", type=int, help="Tasks at once; else one a core.")
@click.option(
    "--needs",
    multiple=True,
    metavar="NAME=N[,…]",
    help="Of a host, for each task: cpus=2,memory=4G,tags=fast,platform=linux-x86_64,gpu=1.",
)
@click.option("--retries", type=int, metavar="N", help="Give a failed task out N times more.")
@click.option(
    "--heartbeat", metavar="TIME", help="How often hosts speak (2s); off: silence is fine."
)
@click.option("--lost-after", metavar="TIME", help="Of silence: a host's tasks go elsewhere (60s).")
@click.option(
    "--on-master-loss",
    type=click.Choice(["finish", "stop"]),
    help="Running tasks end as they would (finish), or are killed after 30 min.",
)
@click.option("--no-twins", is_flag=True, help="Never try a late task on a second host.")
@click.option(
    "--check", "checks", multiple=True, metavar="CHECK",
    help="What a result must pass: nonempty, lines=N, matches=REGEX, json, size>=N, ./check.py.",
)  # fmt: skip
@click.option("--collect", metavar="RULE", help="How output.txt is made; else concat.")
@click.option("--env", "env", multiple=True, metavar="NAME[=V]", help="Set a variable for tasks.")
@click.option("--shell", metavar="PATH", help="Runs a shell line; else /bin/sh.")
@click.option("--fresh", is_flag=True, help="Start everything again, even what is done.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would run; start nothing.")
@click.option("-d", "--detach", is_flag=True, help="Print the run's id and go; it goes on.")
@click.option("--stream", is_flag=True, help="Print what tasks print, each as its result comes.")
@click.option("--tag", is_flag=True, help="As --stream, each line led by its task's number.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors and results.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output.json_option
@hosts_options
@limit_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    words: tuple[str, ...],
    flags: HostFlags,
    dry_run: bool,
    detach: bool,
    quiet: bool,
    yes: bool,
    as_json: bool,
    fresh: bool,
    stream: bool,
    tag: bool,
    **given: object,
) -> None:
    """Run a command once for every combination of the values in its braces.

    \b
    corral run -r3 'echo {1..5} {a,b} {rep}'         30 tasks
    corral run './sim -T {1..5:.5} > {>out.txt}'     9 files come home
    corral run 'gs -o {>{p.stem}.png} {p=*.pdf}'     one task a file
    corral run gzip -k ::: *.log                     one task a file, as GNU parallel has it
    corral run -f commands.txt                       one task a line
    corral run job.toml                              the same, written down

    One word is a shell line; several are a program and its arguments. Options end at the first
    word. The same command again runs only what is missing or failed.
    """
    if (stream or tag) and (as_json or detach):
        other = "--json" if as_json else "--detach"
        raise UsageError(
            "--stream prints what tasks print, and nothing else", hint=f"leave {other} out"
        )
    here = output.here()
    folder = RealFolder(here)
    hosts = selected(flags) or (LOCAL_SPEC,)
    job = read_job(words, folder, given, fresh=fresh)
    tasks = _count(job.parsed)
    programs = engine_needs.programs(load.platform for load in job.ship)
    if job.parsed.command.needs != Needs() or programs:
        hosts = fitting(job.parsed.command.needs, hosts, programs=programs, quiet=quiet)
    ships = shipping.sizes(job.ship, here)
    if dry_run:
        preview(job.asked.name, job.parsed, ships, hosts, everything=True, as_json=as_json)
        return
    if not quiet:
        preview(job.asked.name, job.parsed, ships, hosts, everything=False, as_json=False)
    if tasks > ASK_ABOVE and sys.stdin.isatty() and not output.ask(f"{tasks} tasks?", yes=yes):
        raise UsageError("not started", hint="corral run --yes does not ask")
    state = StateFolder.find_or_make(here)
    submission = to_submit(job, state, here, hosts=hosts, detach=detach)
    if detach:
        _detach(state, submission, as_json=as_json, quiet=quiet)
        return
    printer = Stream(state.blobs, tag=tag) if stream or tag else None
    code, run = follow(state, Wish(submission=submission, quiet=quiet, stream=printer))
    streamed = printer is not None
    ctx.exit(ending.tell(state, run, code, quiet=quiet, as_json=as_json, streamed=streamed))


def read_job(
    words: Sequence[str], folder: RealFolder, given: Mapping[str, object], *, fresh: bool = False
) -> Job:
    """Understand what was typed, and find what it ships.

    Raises:
        UsageError: It cannot be meant; of a run file, all that is wrong with it.
    """
    try:
        return _job(words, folder, given, fresh=fresh)
    except UsageError:
        if _is_run_file(words) and folder.is_file(words[0]):
            runfiles.check(words[0], folder)
        raise  # the options, not the file


def _job(
    words: Sequence[str], folder: RealFolder, given: Mapping[str, object], *, fresh: bool
) -> Job:
    asked = _asked(words, folder, given, fresh=fresh)
    if asked.file.stdin is not None:
        folder.stdin = asked.file.stdin.encode()
    parsed = runfile.understand(asked.file, folder)
    if folder.stdin is not None:
        asked = _replace(asked, {"file": _replace(asked.file, {"stdin": folder.stdin.decode()})})
    parsed = _with_checks(parsed, asked.file, folder)
    ship = shipping.loads(asked.file, parsed.ship, folder)
    shipping.refuse_doubles(parsed.command, ship)
    parsed = _replace(parsed, {"notes": shipping.without_shipped(parsed.notes, ship)})
    return Job(asked=asked, parsed=parsed, ship=ship)


def _with_checks(parsed: Parsed, file: RunFile, folder: RealFolder) -> Parsed:
    """Put the checks into the command, seen to be such as can be carried out.

    Raises:
        UsageError: One cannot.
    """
    for check in file.check:
        runfiles.check_check(check, parsed.command, str(folder.root))
    return _replace(parsed, {"command": _replace(parsed.command, {"checks": file.check})})


def _count(parsed: Parsed) -> int:
    """Count the tasks, before anything is made of them.

    Raises:
        UsageError: There are absurdly many, or none.
    """
    sweep = Sweep.of(parsed.command)
    choice = parsed.command.choice
    if (sweep.combinations if choice.where else len(sweep)) > MOST_TASKS:
        raise UsageError(
            f"{sweep.combinations} tasks are more than {MOST_TASKS}",
            hint="fewer values, or several runs",
        )
    if not len(sweep):
        raise UsageError(
            f"--where {choice.where}: holds for none of {sweep.combinations} combinations",
            hint="corral run -n without it shows them",
        )
    return len(sweep)


def _asked(
    words: Sequence[str], folder: RealFolder, given: Mapping[str, object], *, fresh: bool
) -> Asked:
    """Put file and options together; an option wins."""
    words, sources = split(words)
    if _is_run_file(words):
        if not folder.is_file(words[0]):
            raise UsageError(f"{words[0]}: there is no such file here", hint="check the name")
        file = runfile.load(runfiles.read(words[0], folder), path=words[0])
        natural = runfiles.natural_name(words[0])
    else:
        file = RunFile(run=words)
        natural = identity.run_name(words) if words else _name_of_list(given["commands"])
    for key in ("name", "out", "shell"):
        if given[key] == "":
            raise UsageError(f"--{key}: is empty", hint=f"leave --{key} out for the usual one")
    given = {**given, "where": given["condition"]}  # `where` of the host flags is another word
    changes = {
        key: value
        for key in (
            "reps",
            "here",
            "name",
            "out",
            "slots",
            "retries",
            "heartbeat",
            "lost_after",
            "on_master_loss",
            "shell",
            "commands",
            "counts",
            "zip",
            "where",
            "limit",
            "shuffle",
            "axes",
            "plain",
            "mark",
            "collect",
            *KEYS,
        )
        if (value := given[key]) is not None
    }
    file = _replace(file, changes)
    file = _replace(
        file,
        {
            "sweep": file.sweep | _declared(given["params"]),  # type: ignore[arg-type]
            "params": (*file.params, *given["tables"]),  # type: ignore[misc]
            "source": (*file.source, *_arg_files(given["arg_files"]), *sources),  # type: ignore[arg-type]
            "inputs": file.inputs | _inputs(given["inputs"]),  # type: ignore[arg-type]
            "exit_codes": file.exit_codes | _exit_codes(given["exit_codes"]),  # type: ignore[arg-type]
            "env": file.env | _env(given["env"]),  # type: ignore[arg-type]
            "needs": file.needs | needs.typed(given["needs"]),  # type: ignore[arg-type]
            "push": (*file.push, *given["push"]),  # type: ignore[misc]
            "outputs": (*file.outputs, *given["outputs"]),  # type: ignore[misc]
            "check": tuple(dict.fromkeys((*file.check, *given["checks"]))),  # type: ignore[misc]
            "twins": file.twins and not given["no_twins"],
        },
    )
    _check_numbers(file)
    if file.collect is not None:
        runfiles.check_collecting(file.collect, str(folder.root))
    limits.read(file)
    name = file.name or natural
    runfiles.check_name(name)
    return Asked(
        file=file,
        name=name,
        named=file.name is not None,
        add_env=_environment(file.env),
        fresh=fresh,
    )


def _is_run_file(words: Sequence[str]) -> bool:
    return len(words) == 1 and words[0].endswith(".toml")


def _name_of_list(commands: object) -> str:
    """Name a run after its file of commands."""
    return identity.safe_name(Path(commands).stem) if isinstance(commands, str) else "run"


def _arg_files(names: Sequence[str]) -> list[Source]:
    return [Source(file=name) for name in names]


def _inputs(pairs: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        path, _, template = pair.partition("=")
        if not path or not template:
            raise UsageError(
                f"--input {pair}: is not FILE=TEMPLATE", hint="--input a.yaml=a.yaml.j2"
            )
        found[path] = template
    return found


def _exit_codes(pairs: Sequence[str]) -> dict[int, ExitMeaning]:
    found: dict[int, ExitMeaning] = {}
    for pair in pairs:
        code, _, said = pair.partition("=")
        meanings: list[ExitMeaning] = [known for known in EXIT_MEANINGS if known == said]
        if not re.fullmatch(r"[0-9]{1,3}", code) or not 1 <= int(code) <= 255 or not meanings:
            raise UsageError(
                f"--exit-code {pair}: is not a code from 1 to 255 and its meaning",
                hint="--exit-code 99=again, 77=skip or 3=fatal",
            )
        found[int(code)] = meanings[0]
    return found


def _replace(value: F, changes: dict[str, object]) -> F:
    import msgspec

    return msgspec.structs.replace(value, **changes)


def _check_numbers(file: RunFile) -> None:
    if file.reps > MOST_TASKS:
        raise UsageError(f"-r {file.reps}: too many replicates", hint=f"at most {MOST_TASKS}")
    if file.reps < 1:
        raise UsageError(
            f"-r {file.reps}: at least one replicate", hint="-r 10 runs each setting 10 times"
        )
    if file.slots is not None and not 1 <= file.slots <= 4096:
        raise UsageError(f"-j {file.slots}: from 1 to 4096", hint="leave -j out for one a core")
    if file.retries is not None and file.retries < 0:
        raise UsageError(
            f"--retries {file.retries}: from 0", hint="--retries 2 tries thrice in all"
        )


def _patience(heartbeat: str | None, lost_after: str | None) -> dict[str, Any]:
    """Read how silent a host may be."""
    found: dict[str, Any] = {}
    if heartbeat == "off":
        found["silence_counts"] = False
    elif heartbeat is not None:
        found["beat_s"] = seconds(heartbeat, option="--heartbeat")
    if lost_after is not None:
        found["lost_after_s"] = seconds(lost_after, option="--lost-after")
    return found


def _declared(params: Sequence[str]) -> dict[str, str]:
    declared: dict[str, str] = {}
    for param in params:
        name, equals, values = param.partition("=")
        if not equals or not values:
            raise UsageError(f"-p {param}: is not NAME=VALUES", hint="-p T=1..5 or -p L=16,32")
        if name in declared:
            raise UsageError(f"-p {name}=…: given twice", hint="write all values in one")
        declared[name] = values
    return declared


def _env(pairs: Sequence[str]) -> dict[str, str | bool]:
    """Read --env; a name alone stays one, so that run.toml does not tell what it is."""
    found: dict[str, str | bool] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not runfile.is_variable(name):
            raise UsageError(
                f"--env {pair}: {name!r} is no variable's name", hint="--env NAME=VALUE"
            )
        found[name] = value if equals else True
    return found


def _environment(env: Mapping[str, str | bool]) -> dict[str, str]:
    """Give the variables that tasks get, those that are as here from here."""
    missing = [name for name, value in env.items() if value is True and name not in os.environ]
    if missing:
        raise UsageError(f"--env {missing[0]}: is not set here", hint=f"--env {missing[0]}=VALUE")
    found = {name: os.environ[name] if value is True else str(value) for name, value in env.items()}
    for name, text in found.items():
        axes.check_text(text, f"--env {name}: a value that travels")
    return found


def to_submit(
    job: Job, state: StateFolder, here: Path, *, hosts: tuple[HostSpec, ...], detach: bool = False
) -> Submission:
    """Make of a job what a master takes in; what it ships is copied into the state folder."""
    asked, parsed = job.asked, job.parsed
    file = asked.file
    out = here / file.out if file.out else here / "results" / asked.name
    return Submission(
        name=asked.name,
        named=asked.named,
        folder=str(here),
        skeleton=identity.skeleton(parsed.command),
        words=file.run,
        source=runfile.dump(file),
        command=parsed.command,
        inputs=shipping.fixed(job.ship, here, state.blobs),
        value_inputs=shipping.of_values(parsed.command, here, state.blobs),
        options=Options(
            reps=file.reps,
            retries=file.retries,
            limits=limits.read(file),
            slots=file.slots,
            on_master_loss=file.on_master_loss,
            twins=file.twins,
            **_patience(file.heartbeat, file.lost_after),
            out=str(out),
            out_given=file.out is not None,
            collect=file.collect or "concat",
            add_env=asked.add_env,
            exit_codes=file.exit_codes,
        ),
        hosts=hosts,
        fresh=asked.fresh,
        detached=detach,
    )


def _detach(state: StateFolder, submission: Submission, *, as_json: bool, quiet: bool) -> None:
    """Hand the run to a master in the background."""
    import time

    deadline = time.monotonic() + START_S
    started = False
    while state.master() is None:
        if not started:
            start_detached(state)
            started = True
        if time.monotonic() > deadline:
            raise MasterError(
                "the master in the background did not start",
                hint=f"look into {state.path / 'logs' / 'master.log'}",
            )
        time.sleep(0.02)
    client = Client(state)
    submitted = client.submit(submission)
    client.close()
    if as_json:
        output.print_json({"run": submitted.run, "name": submitted.name})
        return
    if not quiet:
        talk(f"{summary(submitted)}; follow it: corral attach {submitted.name}")
    click.echo(submitted.run)
