"""What does the same task give on each of many hosts? Tried with a state of its own, kept nowhere.

Each host gets a run of its own, which no other may work for, on one master with a temporary state folder.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from corral import environment
from corral.cli import run as runs
from corral.cli.follow import unwrapped
from corral.engine import queries
from corral.errors import CorralError
from corral.master.collector import RunSource
from corral.model.base import Frozen
from corral.results.source import chunks, file_chunks
from corral.server.app import serve
from corral.store import leftovers
from corral.store.folder import StateFolder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from corral.cli.run import Job
    from corral.ids import RunId
    from corral.master.master import Master
    from corral.model.host import HostSpec
    from corral.model.run import Submission
    from corral.store.base import Reader

STDERR_LINES = 3  # of a task that failed: the last ones say why
STDERR_BYTES = 2000


class Difference(Frozen, frozen=True, kw_only=True):
    """The first line in which a host's output is not as it is on most."""

    name: str  # stdout, or a declared file
    line: int
    here: str | None  # None: it ends before, or there is no such file
    usual: str | None


class Tried(Frozen, frozen=True, kw_only=True):
    """What the task came to on one host."""

    host: str
    fault: str = ""  # why there is no result; "" = it is done
    hint: str = ""  # the way out of the fault
    seconds: float | None = None
    bytes: int = 0  # that it wrote to stdout
    stderr: str = ""  # the last lines of a task that failed
    difference: Difference | None = None


def try_out(job: Job, specs: Sequence[HostSpec], here: Path) -> list[Tried]:
    """Run a job of a single task once on each host, and compare what came of it."""
    with leftovers.temporary("test") as place:
        state = StateFolder.make(Path(place))
        submissions = _submissions(job, specs, state, here)
        store = state.open_store()

        async def everywhere(master: Master) -> list[RunId | CorralError]:
            return await _everywhere(master, submissions)

        try:
            ended = asyncio.run(unwrapped(serve(state, store, everywhere)))
            with store.reader() as reader:
                left = {
                    spec.name: Left(reader, state, run)
                    for spec, run in zip(specs, ended, strict=True)
                    if not isinstance(run, CorralError)
                }
                usual = _commonest([one for one in left.values() if not one.fault])
                return [
                    _unusable(spec.name, run)
                    if isinstance(run, CorralError)
                    else _tried(spec.name, left[spec.name], usual)
                    for spec, run in zip(specs, ended, strict=True)
                ]
        finally:
            store.close()


def _submissions(
    job: Job, specs: Sequence[HostSpec], state: StateFolder, here: Path
) -> list[Submission]:
    """Make a run for each host: it differs by its skeleton, and is tried once."""
    common = runs.to_submit(job, state, here, hosts=())
    options = msgspec.structs.replace(
        common.options,
        retries=0,
        slots=1,
        twins=False,
        on_master_loss="stop",  # nobody comes back for it
        collect="concat",
        out=str(state.path / "results"),
    )
    return [
        msgspec.structs.replace(
            common,
            named=False,
            skeleton=f"{spec.name}\n{common.skeleton}",
            options=msgspec.structs.replace(options, out=f"{options.out}/{n}"),
            hosts=(spec,),
        )
        for n, spec in enumerate(specs)
    ]


async def _everywhere(
    master: Master, submissions: Iterable[Submission]
) -> list[RunId | CorralError]:
    """Give for each submission its run when that is at rest, or why it cannot be."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_one(master, submission), name=f"try {submission.hosts[0].name}")
                for submission in submissions
            ]
    except asyncio.CancelledError:  # Ctrl-C: nothing is worth waiting for
        await asyncio.shield(master.end_now())
        raise
    return [task.result() for task in tasks]


async def _one(master: Master, submission: Submission) -> RunId | CorralError:
    try:
        submitted = await master.submit(submission, environment.own())
        while await master.rest(submitted.run) is None:
            pass
    except CorralError as error:
        return error
    return submitted.run


class Left:
    """What a host's task left, while the temporary state is there."""

    def __init__(self, reader: Reader, state: StateFolder, number: RunId) -> None:
        run = queries.run(reader, number)
        self._source = RunSource(reader, state.blobs, run)
        self.result = queries.result(reader, queries.task(reader, run, 1))
        done = self.result.state == "done"
        self.fault = "" if done else self.result.reason or run.reason or self.result.state
        self.files = {file.name: file for file in self.result.files}

    @property
    def names(self) -> list[str]:
        """Name all that is compared."""
        return ["stdout", *sorted(self.files)]

    def pieces(self, name: str) -> Iterator[bytes]:
        """Stream one of them; nothing if it is not there."""
        if name == "stdout":
            return chunks(self._source, self.result.stdout)
        return file_chunks(self._source, self.files[name]) if name in self.files else iter(())

    def lines(self, name: str) -> Iterator[bytes]:
        """Stream the lines of one of them, each with its end."""
        rest = b""
        for piece in self.pieces(name):
            *whole, rest = (rest + piece).split(b"\n")
            yield from (line + b"\n" for line in whole)
        if rest:
            yield rest

    def digest(self) -> str:
        """Say in a word what was left: equal if and only if all of it is."""
        found = hashlib.sha256()
        for name in self.names:
            content = hashlib.sha256()
            for piece in self.pieces(name):
                content.update(piece)
            found.update(name.encode() + b"\0" + content.digest())
        return found.hexdigest()

    def stderr(self) -> str:
        """Give the last lines that went to stderr."""
        end = b""
        for piece in chunks(self._source, self.result.stderr):
            end = (end + piece)[-STDERR_BYTES:]
        return "\n".join(end.decode(errors="replace").splitlines()[-STDERR_LINES:])


def _commonest(left: Sequence[Left]) -> Left | None:
    """Give one whose output most hosts have; of equally many the first."""
    digests = [one.digest() for one in left]
    if not left:
        return None
    return left[digests.index(Counter(digests).most_common(1)[0][0])]


def _tried(host: str, left: Left, usual: Left | None) -> Tried:
    result = left.result
    if left.fault:
        return Tried(
            host=host,
            fault=left.fault,
            hint=_way_out(host, result.kind),
            stderr=left.stderr(),
        )
    return Tried(
        host=host,
        seconds=result.seconds,
        bytes=result.stdout.size,
        difference=None if usual is None else _difference(left, usual),
    )


def _unusable(host: str, error: CorralError) -> Tried:
    hint = (error.hint or "").partition("; then: corral resume")[0]
    return Tried(host=host, fault=error.message.removeprefix(f"{host}: "), hint=hint)


def _way_out(host: str, kind: str | None) -> str:
    """Name what mends a failure of that kind."""
    match kind:
        case "spawn":
            return (
                f"ssh {host} 'echo $PATH' shows where it is looked for; ship the program with --push,"
                ' or set env = {PATH = "…"} for the host in hosts.toml'
            )
        case "env":
            return f"corral hosts check -w {host} shows its folder and disk"
        case _:
            return f"corral run -w {host} with the same command keeps all that it writes"


def _difference(left: Left, usual: Left) -> Difference | None:
    """Find the first line that is another; None if all is the same."""
    if left is usual:
        return None
    for name in dict.fromkeys((*usual.names, *left.names)):
        pairs = zip_longest(left.lines(name), usual.lines(name))
        for line, (here, there) in enumerate(pairs, 1):
            if here != there:
                return Difference(name=name, line=line, here=_text(here), usual=_text(there))
        if (name in left.names) != (name in usual.names):  # an empty file, and none
            return Difference(name=name, line=1, here=None, usual=None)
    return None


def _text(line: bytes | None) -> str | None:
    return None if line is None else line.decode(errors="replace").removesuffix("\n")
