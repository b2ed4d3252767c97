"""Who runs 10,000 processes besides us? The floor in C, and the peers, each set up here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.timing import LIMIT_S, timed

HERE = Path(__file__).parent
SET_UP_S = 120.0


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who runs ``true`` many times on some cores."""

    name: str
    tasks: int  # how often: fewer for the slow ones, rates are compared
    seconds: Callable[[], float] | None  # runs them all; None: it is not here
    why: str = ""  # it is not here


def floor(folder: Path, *, tasks: int, cores: int) -> Peer:
    """Give a loop over posix_spawn in C: nothing that starts processes is much faster."""
    name = "C posix_spawn"
    compiler = shutil.which("cc")
    if compiler is None:
        return Peer(name=name, tasks=tasks, seconds=None, why="no C compiler (cc)")
    program = folder / "floor"
    source = HERE / "floor.c"
    subprocess.run([compiler, "-O2", "-o", program, source], check=True, timeout=SET_UP_S)
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
    home = folder / "hyperqueue"
    python = home / "bin" / "python"
    try:
        venv.create(home, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "hyperqueue"]
        subprocess.run(install, check=True, capture_output=True, timeout=SET_UP_S)
    except (subprocess.SubprocessError, OSError) as error:
        return Peer(name=name, tasks=tasks, seconds=None, why=f"cannot install it ({error})"[:60])

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


def _true() -> str:
    return shutil.which("true") or "/bin/true"
