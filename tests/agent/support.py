"""What the agent's tests share: Pythons found here, waiting, looking at processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import corral.agent

if TYPE_CHECKING:
    from collections.abc import Callable

agent: Any = corral.agent  # it has no annotations, for it runs on Python 3.6
AGENT = Path(__file__).parents[2] / "src" / "corral" / "agent.py"
OLDEST = 6


def wait_until(condition: Callable[[], object], seconds: float = 10.0, what: str = "") -> None:
    """Wait for a condition of the real world; fail with ``what`` when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what or "waited in vain"
        time.sleep(0.005)  # the one place that polls


@cache
def pythons() -> tuple[str, ...]:
    """Find every Python 3 from 3.6 on, by name on PATH and in pyenv's folder; one of each."""
    places = os.environ.get("PATH", "").split(os.pathsep)
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    places += [str(folder) for folder in sorted((root / "versions").glob("3.*/bin"))]
    found: dict[str, str] = {}
    for minor in range(OLDEST, 30):
        name = f"python3.{minor}"
        for place in places:
            path = shutil.which(name, path=place)
            if path and name not in found and _works(path, minor):
                found[name] = path
    return tuple(found.values()) or (sys.executable,)


def _works(path: str, minor: int) -> bool:
    """Say whether it is that Python: a pyenv shim may stand for one that is not selected."""
    command = [path, "-I", "-S", "-c", "import sys; print(sys.version_info[1])"]
    done = subprocess.run(command, capture_output=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == str(minor).encode()


def environment(pid: int) -> dict[str, str]:
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (item.partition(b"=") for item in data.split(b"\0"))
    return {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, _, value in pairs
    }


def alive(pid: int) -> bool:
    """Say whether a process lives; a zombie does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def tagged(incarnation: str) -> set[int]:
    """Find the living processes that carry an incarnation's tag."""
    pids = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return {
        pid
        for pid in pids
        if environment(pid).get("CORRAL_INCARNATION") == incarnation and alive(pid)
    }
