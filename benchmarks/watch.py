"""What do our processes use? Read from /proc."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

EVERY_S = 0.1  # between samples: a peak of a process that allocates steadily is not missed by much
PROC = Path("/proc")


def pss(pid: int) -> int:
    """Give a process's proportional share of memory in bytes; 0 if it is gone."""
    return _kilobytes(PROC / str(pid) / "smaps_rollup", "Pss:")


def peak_rss(pid: int) -> int:
    """Give the most memory a process ever had, in bytes; 0 if it is gone."""
    return _kilobytes(PROC / str(pid) / "status", "VmHWM:")


def cpu_s(pid: int) -> float:
    """Give the processor time of a process's main thread in seconds, to the nanosecond."""
    return int((PROC / str(pid) / "schedstat").read_text().split()[0]) / 1e9


def parent(pid: int) -> int:
    """Give the pid of a process's parent."""
    return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])


def titled(start: str) -> list[int]:
    """List the processes whose command line begins with ``start``."""
    found = []
    for folder in PROC.glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if line.startswith(start.encode()):
            found.append(int(folder.name))
    return found


class Peaks:
    """The most that some processes used while they were watched, in bytes."""

    def __init__(self, pids: Sequence[int]) -> None:
        self.pids = list(pids)
        self.together = 0  # Pss of all of them at one moment
        self.of: dict[int, int] = {}  # peak RSS by pid

    def look(self) -> None:
        """Take one sample."""
        self.together = max(self.together, sum(map(pss, self.pids)))
        for pid in self.pids:
            self.of[pid] = max(self.of.get(pid, 0), peak_rss(pid))


@contextmanager
def peaks(pids: Sequence[int]) -> Generator[Peaks]:
    """Watch some processes; the list may grow meanwhile."""
    seen = Peaks(pids)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(EVERY_S):
            seen.look()

    thread = threading.Thread(target=watch, name="watch")
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        seen.look()


def wait_until(condition: str, holds: Callable[[], bool], *, deadline_s: float = 60.0) -> None:
    """Wait for something that ``holds()`` tells.

    Raises:
        TimeoutError: It did not come about.
    """
    until = time.monotonic() + deadline_s
    while not holds():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {deadline_s:g} s in vain: {condition}")
        time.sleep(0.02)


def _kilobytes(path: Path, field: str) -> int:
    try:
        text = path.read_text()
    except OSError:  # it ended meanwhile
        return 0
    line = next((line for line in text.splitlines() if line.startswith(field)), f"{field} 0")
    return int(line.split()[1]) * 1024
