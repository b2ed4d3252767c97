"""Who else runs echoes on hosts behind ssh? The floor in C, and the peers, each set up here.

Everybody has two slots a host, uses the same ssh with the same configuration, and has to bring
every output into one file: the clock stops when it is whole, though corral's own stops when its
command has ended.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks import timing
from benchmarks.environments import SetUpError, environment
from benchmarks.peers import HERE, Peer, compiled

if TYPE_CHECKING:
    from collections.abc import Callable

SLOTS = 2
LOGIN_S = 30.0


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts, and the folders to work in."""

    hosts: tuple[str, ...]
    config: Path  # ssh_config that knows them
    interface: str  # by which they reach each other
    folder: Path  # seen here
    shared: Path  # seen here and on the hosts
    tasks: int

    @property
    def ssh(self) -> list[str]:
        return ["ssh", "-F", str(self.config)]


def floor(field: Field) -> Peer:
    """Give a loop over posix_spawn in C on each host, each with its fixed share of the tasks."""
    name = "C behind ssh"
    program = compiled("echoes.c", field.shared)
    if program is None:
        return Peer(name=name, tasks=field.tasks, seconds=None, why="no C compiler (cc)")
    share = -(-field.tasks // len(field.hosts))
    lines = []
    for number, host in enumerate(field.hosts):
        first, last = number * share + 1, min((number + 1) * share, field.tasks)
        login = shlex.join([*field.ssh, host, f"{program} {_echo()} {first} {last} {SLOTS}"])
        lines.append(f"{login} > part-{number} &")
    parts = " ".join(f"part-{number}" for number in range(len(field.hosts)))
    line = "\n".join([*lines, "wait", f"cat {parts} > output"])
    return Peer(name=name, tasks=field.tasks, seconds=_checked(field, ["sh", "-c", line]))


def hyperqueue(field: Field) -> Peer:
    """Give HyperQueue, its output brought home by a folder that the hosts share."""
    name = "HyperQueue"
    try:
        python = environment("hyperqueue", "hyperqueue")
    except SetUpError as error:
        return Peer(name=name, tasks=field.tasks, seconds=None, why=str(error))
    place = field.shared / "hyperqueue"

    def seconds() -> float:
        place.mkdir()
        shutil.copy(HERE / "hyperqueue_worker.py", place)
        try:
            return _checked(field, words, until="collected")()
        finally:
            shutil.rmtree(place)

    words = [
        *(str(python), str(HERE / "hyperqueue_echo.py"), str(field.tasks), str(SLOTS)),
        *(str(place), "output", shlex.join(field.ssh), *field.hosts),
    ]
    return Peer(name=name, tasks=field.tasks, seconds=seconds)


def dask(field: Field) -> Peer:
    """Give Dask's SSHCluster, whose scheduler shares a host with a worker."""
    name = "Dask SSHCluster"
    try:
        python = environment("dask", "distributed", "asyncssh")
    except SetUpError as error:
        return Peer(name=name, tasks=field.tasks, seconds=None, why=str(error))
    words = [
        *(str(python), str(HERE / "dask_echo.py"), str(field.tasks), str(SLOTS)),
        *(str(field.config), field.interface, "output", *field.hosts),
    ]
    return Peer(name=name, tasks=field.tasks, seconds=_checked(field, words, until="collected"))


def parallel(field: Field) -> Peer:
    """Give GNU parallel over connections that were opened before, which is not counted.

    So every task costs the same, and fewer tasks than the others' tell the rate.
    """
    name = "GNU parallel -S"
    if shutil.which("parallel") is None:
        return Peer(name=name, tasks=field.tasks, seconds=None, why="no parallel on PATH")
    ssh = [*field.ssh, "-o", f"ControlPath={field.folder}/%n"]
    logins = ",".join(f"{SLOTS}/{host}" for host in field.hosts)
    line = (
        f"seq {field.tasks} | parallel --will-cite --ssh {shlex.quote(shlex.join(ssh))}"
        f" -S {logins} echo {{}} > output"
    )

    def seconds() -> float:
        for host in field.hosts:
            _login(*ssh, "-fNM", host)
        try:
            return _checked(field, ["sh", "-c", line])()
        finally:
            for host in field.hosts:
                _login(*ssh, "-O", "exit", host)

    return Peer(name=name, tasks=field.tasks, seconds=seconds)


def _checked(field: Field, words: list[str], *, until: str | None = None) -> Callable[[], float]:
    """Time a command that writes ``output``, and see that it is whole."""

    def seconds() -> float:
        took = timing.timed(words, field.folder, until=until)
        check(field.folder / "output", tasks=field.tasks)
        return took

    return seconds


def check(output: Path, *, tasks: int) -> None:
    """See that a collected output has every number once, and remove it."""
    if sorted(map(int, output.read_text().split())) != list(range(1, tasks + 1)):
        raise SystemExit(f"{output}: not the {tasks} results: the figure means nothing")
    output.unlink()


def _login(*words: str) -> None:
    quiet = subprocess.DEVNULL
    subprocess.run(words, stdin=quiet, stdout=quiet, stderr=quiet, check=True, timeout=LOGIN_S)


def _echo() -> str:
    return shutil.which("echo") or "/bin/echo"
