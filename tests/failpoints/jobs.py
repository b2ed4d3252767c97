"""What is run while something is killed: small jobs that pass every point there is."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.corral import Corral

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
    return found | dict.fromkeys(("attempts.csv", "failed.csv", ".written.jsonl"), b"")


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
    """Name what lies in the state folder (SQLite's aside) and in the folder for temporary files."""
    state = corral.folder / ".corral"
    files = [path.relative_to(state) for path in state.rglob("*") if path.is_file()]
    names = {path.parts[0] for path in files if not path.match("corral.db-*")}
    parts = {path.relative_to(state).as_posix() for path in (state / "blobs" / "part").glob("*")}
    temporary = {path.name for path in (corral.folder / "tmp").iterdir()}
    return names | parts | temporary
