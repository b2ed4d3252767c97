"""Who runs 10,000 processes besides us? The floor in C, and the peers, each set up here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.environments import SetUpError, environment
from benchmarks.timing import LIMIT_S, timed

HERE = Path(__file__).parent
COMPILE_S = 60.0


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who runs ``true`` many times on some cores."""

    name: str
    tasks: int  # how often: fewer for the slow ones, rates are compared
    seconds: Callable[[], float] | None  # runs them all; None: it is not here
    why: str = ""  # it is not here


def floor(folder: Path, *, tasks: int, cores: int) -> Peer:
    """Give a loop over posix_spawn in C: nothing that starts processes is much faster."""
    name = "C posix_spawn"
    program = compiled("floor.c", folder)
    if program is None:
        return Peer(name=name, tasks=tasks, seconds=None, why="no C compiler (cc)")
    return Peer(
        name=name,
        tasks=tasks,
        seconds=lambda: timed([str(program), _true(), str(tasks), str(cores)], folder),
    )


def xargs(folder: Path, *, tasks: int, cores: int) -> Peer:
    """Give xargs, which keeps neither results nor exit codes."""
    if shutil.which("xargs") is None:
        return Peer(name="xargs", tasks=tasks, seconds=None, why="no xargs")
    line = f"seq {tasks} | xargs -P{cores} -I{{}} true"
    return Peer(name="xargs", tasks=tasks, seconds=lambda: timed(["sh", "-c", line], folder))


def parallel(folder: Path, *, tasks: int, cores: int) -> Peer:
    """Give GNU parallel with its job log, the nearest it has to our table."""
    name = "GNU parallel"
    if shutil.which("parallel") is None:
        return Peer(name=name, tasks=tasks, seconds=None, why="no parallel on PATH")
    line = f"seq {tasks} | parallel -j{cores} -N0 --joblog log true"
    return Peer(name=name, tasks=tasks, seconds=lambda: timed(["sh", "-c", line], folder))


def hyperqueue(folder: Path, *, tasks: int, cores: int) -> Peer:
    """Give HyperQueue's LocalCluster, from a virtual environment of its own."""
    name = "HyperQueue"
    try:
        python = environment("hyperqueue", "hyperqueue")
    except SetUpError as error:
        return Peer(name=name, tasks=tasks, seconds=None, why=str(error))
    home = folder / "hyperqueue"
    home.mkdir()

    def seconds() -> float:
        said = subprocess.run(
            [str(python), str(HERE / "hyperqueue_true.py"), str(tasks), str(cores)],
            cwd=home,
            env=os.environ | {"TMPDIR": str(home)},  # it leaves its folders behind
            check=True,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        return float(said.stdout.split()[-1])

    return Peer(name=name, tasks=tasks, seconds=seconds)


def python_start(folder: Path) -> float:
    """Time the start of this Python with nothing to do: the floor of every command of ours."""
    return timed([sys.executable, "-c", "pass"], folder)


def compiled(source: str, folder: Path) -> Path | None:
    """Compile one of our C programs into a folder; None if there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program = folder / Path(source).stem
    words = [compiler, "-O2", "-o", str(program), str(HERE / source)]
    subprocess.run(words, check=True, timeout=COMPILE_S)
    return program


def _true() -> str:
    return shutil.which("true") or "/bin/true"
