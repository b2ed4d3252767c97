"""What is run while something is killed, how it goes on, and what it must come to.

The jobs are small, and together they pass every point there is.
"""

from __future__ import annotations

import csv
import functools
import io
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from corral.engine import audit, queries
from corral.store.folder import StateFolder
from corral.store.sqlite import SqliteReader
from tests.support.corral import Corral
from tests.support.invariants import Checks
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TASK = """\
#!/bin/sh
echo "$CORRAL_TICKET" >> {folder}/starts
case $1 in
3)  if ! test -e {folder}/failed; then
        touch {folder}/failed
        seq 150 | while read n; do : > "file$n"; done  # too many to remove at a stretch
        deep=$(printf %0200d 0)
        seq 25 | while read n; do mkdir $deep; cd $deep; done  # deeper than a path can say
        exit 1
    fi;;
4)  seq 20000;;  # more than fits into a report
5)  sleep 60 & ;;
esac
seq "$1" > "$2"
echo "task $1"
"""
FAR_TASK = """\
#!/bin/sh
echo "$CORRAL_TICKET" >> ~/starts
while test -e ~/wait; do sleep 0.02; done
seq "$1" > "$2"
echo "task $1"
"""
BROKEN = "#!/none/such\n"
CHECK = """\
#!/bin/sh
cat > /dev/null
"""


class Job(NamedTuple):
    """A command, the files that it needs, and how it ends when nothing is killed."""

    words: tuple[str, ...]
    files: Mapping[str, str] = {}
    code: int = 0

    @property
    def name(self) -> str:
        return self.words[self.words.index("--name") + 1]

    def prepare(self, corral: Corral) -> None:
        """Write its files; in their texts ``{folder}`` is the test's."""
        for name, text in self.files.items():
            text = text.replace("{folder}", str(corral.folder))
            corral.write(name, text, executable=text.startswith("#!"))


def _run(*words: str, values: str) -> tuple[str, ...]:
    return ("run", "--name", "job", *words, f"./task.sh {{n={values}}} {{>out.txt}}")


JOBS = {
    "farm": Job(_run("-j2", "--retries", "2", values="1..12"), {"task.sh": TASK}),
    "few": Job(_run(values="1,2"), {"task.sh": TASK}),
    "far": Job(_run(values="1,2"), {"task.sh": FAR_TASK}),
    "checked": Job(
        _run("--check", "./check.sh", values="1,2"), {"task.sh": TASK, "check.sh": CHECK}
    ),
    "set up": Job(
        _run(values="1,2"),
        {"task.sh": TASK, "hosts.toml": "[hosts.localhost]\nsetup = 'sleep 0.1'\n"},
    ),
    "broken": Job(
        ("run", "--name", "job", "--retries", "1", "./broken {1,2}"), {"broken": BROKEN}, code=1
    ),
    "detached": Job(_run("-d", values="1,2"), {"task.sh": TASK}),
}


def collected(corral: Corral, job: Job) -> dict[str, bytes]:
    """Give all that a user finds, what depends on luck left out; a file is there even if hidden."""
    folder = corral.results(job.name)
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    found["results.csv"] = _without_luck(found["results.csv"])
    return found | dict.fromkeys(("attempts.csv", "failed.csv", "run.toml", ".written.jsonl"), b"")


def _without_luck(table: bytes) -> bytes:
    """Cut the columns of results.csv after ``exit``."""
    rows = list(csv.reader(io.StringIO(table.decode())))
    width = rows[0].index("exit") + 1
    return "\n".join(",".join(row[:width]) for row in rows).encode()


def started(corral: Corral) -> list[str]:
    """List the tickets that were started: the tasks themselves wrote them down."""
    path = corral.folder / "starts"
    return path.read_text().split() if path.exists() else []


def kept(corral: Corral) -> set[str]:
    """Name what lies in the state folder (logs and SQLite's files aside) and in that for temporary ones."""
    state = corral.folder / ".corral"
    files = [path.relative_to(state) for path in state.rglob("*") if path.is_file()]
    names = {path.parts[0] for path in files if not path.match("corral.db-*")} - {"logs"}
    parts = {path.relative_to(state).as_posix() for path in (state / "blobs" / "part").glob("*")}
    temporary = {path.name for path in (corral.folder / "tmp").iterdir()}
    return names | parts | temporary


@contextmanager
def armed(corral: Corral, point: str, mark: Path) -> Iterator[None]:
    """Have what is started here die at a point."""
    variables = {"CORRAL_FAILPOINT": point, "CORRAL_FAILPOINT_MARK": str(mark)}
    corral.environment.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del corral.environment[name]


@functools.cache
def quiet(job: str) -> tuple[dict[str, bytes], set[str]]:
    """Give what a job comes to when nothing is killed, and what it leaves."""
    with tempfile.TemporaryDirectory() as folder:
        corral = Corral(Path(folder))
        begin(corral, JOBS[job])
        corral(*JOBS[job].words, code=None)
        go_on(corral, JOBS[job])
        return collected(corral, JOBS[job]), kept(corral)


def begin(corral: Corral, job: Job) -> None:
    (corral.folder / "tmp").mkdir()
    corral.environment["TMPDIR"] = str(corral.folder / "tmp")
    job.prepare(corral)


def go_on(corral: Corral, job: Job) -> None:
    """Do what a user would do whose command was killed, or had no host to go on with."""
    if not is_submitted(corral):
        corral(*job.words, code=None)
    corral("resume", code=job.code)
    wait_until(lambda: not corral.master(), what="no master is left")


def is_submitted(corral: Corral) -> bool:
    """Say whether a run of this folder is open, or ended."""
    folder = StateFolder(corral.folder / ".corral")
    if not folder.database.exists():
        return False
    store = folder.open_store()
    with closing(store), store.reader() as reader:
        return any(row.state != "preparing" for row in queries.runs(reader))


def check(corral: Corral, job: str) -> None:
    """See that every promise was kept, as soon as the last master is gone."""
    wait_until(lambda: not corral.master(), what="no master is left")
    result, left = quiet(job)
    found = collected(corral, JOBS[job])
    assert found == result, [name for name in found | result if found.get(name) != result.get(name)]
    assert kept(corral) == left, kept(corral) ^ left
    folder = StateFolder(corral.folder / ".corral")
    with closing(sqlite3.connect(folder.database)) as database:
        checks = Checks(database)
        checks.everything()
        checks.at_rest()
        checks.starts(started(corral))
        assert list(audit.contents(SqliteReader(database), folder.blobs, deep=True)) == []
