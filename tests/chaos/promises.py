"""What must hold after a run on real hosts, whatever befell them? Each look lists what does not."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from corral.model.base import Frozen
from tests.chaos.faults import DISK, FAULTS
from tests.ssh.logins import logins
from tests.support.invariants import BrokenError, Checks, Expected
from tests.support.wait import wait_until

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator

    from tests.support.corral import Corral
    from tests.support.hosts import Bed, Host

CLEAN_S = 1.0  # from the end of the command until nothing of ours is anywhere
SLACK_S = (
    2.0  # a lease on its way to a host that is struck: the reply is written down before it is sent
)


class Blow(Frozen, frozen=True, kw_only=True):
    """A fault that was done."""

    kind: str
    host: str  # "": the master
    struck: float  # seconds since 1970


def marks(host: Host) -> list[str]:
    """List the tickets that were started on a host, on or off: its home outlasts all."""
    path = host.folder / "home" / "starts"
    return path.read_text().split() if path.exists() else []


# ---------------------------------------------------------------- results


def text(number: int) -> str:
    """Give what a task prints."""
    return f"task {number}\n"


def content(number: int) -> bytes:
    """Give what a task writes into its file."""
    return "".join(f"{line}\n" for line in range(1, number + 1)).encode()


def expected(number: int) -> Expected:
    """Say what a task comes to in a quiet run."""
    digest = hashlib.sha256(content(number)).hexdigest()
    return Expected(0, text(number).encode(), {f"{number}.txt": digest})


def lost(corral: Corral, run: str, tasks: int) -> list[str]:
    """List the results that the user does not find as a quiet run would have left them."""
    folder = corral.results(run)
    if not (folder / "results.csv").exists():
        return ["results.csv is missing"]
    rows = {row["task"]: (row["n"], row["state"], row["exit"]) for row in corral.rows(run)}
    files = {path.name: path.read_bytes() for path in (folder / "files").glob("*")}
    broken = []
    for number in range(1, tasks + 1):
        row, file = rows.pop(str(number), None), files.pop(f"{number}.txt", None)
        if row != (str(number), "done", "0") or file != content(number):
            broken.append(f"task {number} has not the result of the quiet run: {row}")
    broken += [f"{name} belongs to no task" for name in (*rows, *files)]
    if corral.output(run) != "".join(text(number) for number in range(1, tasks + 1)):
        broken.append("output.txt is not that of the quiet run")
    return broken


def invariants(database: sqlite3.Connection, started: Iterable[str]) -> list[str]:
    """Look at the database with the checks that the simulation uses."""
    checks = Checks(database)
    looks: tuple[Callable[[], None], ...] = (
        checks.everything,
        checks.at_rest,
        lambda: checks.results(expected),
        lambda: checks.starts(started),
    )
    broken = []
    for look in looks:
        try:
            look()
        except BrokenError as error:
            broken.append(str(error))
    return broken


def audit(corral: Corral) -> list[str]:
    """Ask ``corral db check --deep``."""
    done = corral("db", "check", "--deep", code=None)
    return done.stdout.splitlines() if done.returncode else []


# ---------------------------------------------------------------- starts


def needless(
    database: sqlite3.Connection, started: Iterable[str], blows: Iterable[Blow]
) -> list[str]:
    """List the starts that nothing asked for.

    A start is needless if it is on no record, if its ticket had been started before, or if it makes
    up for an attempt that ran on, untouched: no fault that costs what its host runs had struck
    there since its lease when it was given up.
    """
    times = Counter(started)
    rows = database.execute(
        "select a.ticket, h.name, a.outcome, a.leased, a.ended from attempt a"
        " join host h on h.id = a.host_id"
    ).fetchall()
    known = {row[0] for row in rows}
    found = [
        f"{ticket} was started and is not on record" for ticket in times if ticket not in known
    ]
    found += [f"{ticket} was started {n} times" for ticket, n in times.items() if n > 1]
    struck = _struck(blows)
    given_up = dict(_given_up(database))
    for ticket, host, outcome, leased, ended in rows:
        if ticket not in times or not (outcome in ("lost", "returned") or ticket in given_up):
            continue
        until = given_up.get(ticket, ended)
        if not any(leased - SLACK_S <= moment <= until for moment in struck.get(host, ())):
            found.append(f"{ticket} was given up on {host}, where nothing had touched it")
    return found


def _struck(blows: Iterable[Blow]) -> dict[str, list[float]]:
    """Give the times of the blows that cost what a host runs, by host."""
    struck: dict[str, list[float]] = {}
    for blow in blows:
        if blow.kind in FAULTS and FAULTS[blow.kind].costs:
            struck.setdefault(blow.host, []).append(blow.struck)
    return struck


def _given_up(database: sqlite3.Connection) -> Iterator[tuple[str, float]]:
    """Give every ticket that was ever given up, come back or not, with the first time of it."""
    for tickets, at in database.execute(
        "select tickets, at from event where kind = 'lost' order by id desc"
    ):
        yield from ((ticket, at) for ticket in json.loads(tickets))


# ---------------------------------------------------------------- what is left


def strays(bed: Bed, corral: Corral) -> list[str]:
    """List what is left of ours after the end, on hosts that are on and on this machine.

    A login to a dead host that a killed master had just begun hears of no end: it may take as long
    as a login to be accepted.
    """

    def left() -> list[str]:
        calls = set(logins(bed))
        here = {*corral.processes(), *working_in(corral.folder)} - calls
        return [
            *bed.left(),
            *(f"{host.name}: file {DISK}/{name}" for host in bed for name in _on_disk(host)),
            *(f"here: process {pid}" for pid in here),
        ]

    return _after(CLEAN_S, lambda: [*left(), *(f"here: ssh client {pid}" for pid in logins(bed))])


def _after(seconds: float, look: Callable[[], list[str]]) -> list[str]:
    """Look until there is nothing more, for so long; gives what there is then."""
    try:
        wait_until(lambda: not look(), seconds=seconds)
    except AssertionError:
        return look()
    return []


def _on_disk(host: Host) -> list[str]:
    """List what corral has on the disk that can be full, if the host is on."""
    if not host.pid:
        return []
    return sorted(path.name for path in host.place(DISK).glob("corral-*"))


def working_in(folder: Path) -> Iterator[int]:
    """Give the pids of this machine that work in a folder: masters are among them."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if (entry / "cwd").readlink() == folder:
                yield int(entry.name)
