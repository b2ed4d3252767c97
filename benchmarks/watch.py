"""What do our processes use? Read from /proc."""

from __future__ import annotations

import threading
import time
from collections import Counter
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


def alone(pids: Sequence[int]) -> int:
    """Give the summed Pss in bytes that processes would have if nobody else mapped their files.

    On a real host nobody does; here the agents of many hosts share one Python, which makes the
    measured Pss too small. Of each mapped file the most that any of them has resident is counted, once.
    """
    own, files = 0, Counter[str]()
    for pid in pids:
        own += _kilobytes(PROC / str(pid) / "smaps_rollup", "Pss_Anon:")
        for place, size in _mapped(pid).items():
            files[place] = max(files[place], size)
    return own + files.total()


def _mapped(pid: int) -> Counter[str]:
    """Give the resident bytes of each file that a process maps, but for pages it has changed."""
    sizes, file = Counter[str](), ""
    for line in (PROC / str(pid) / "smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            file = words[5] if len(words) > 5 and words[5].startswith("/") else ""
        elif file and words[0] == "Rss:":
            sizes[file] += int(words[1]) * 1024
        elif file and words[0] == "Anonymous:":
            sizes[file] -= int(words[1]) * 1024
    return sizes


def peak_rss(pid: int) -> int:
    """Give the most memory a process ever had, in bytes; 0 if it is gone."""
    return _kilobytes(PROC / str(pid) / "status", "VmHWM:")


def cpu_s(pid: int) -> float:
    """Give the processor time of a process's living threads in seconds, to the nanosecond."""
    threads = (PROC / str(pid) / "task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def parent(pid: int) -> int:
    """Give the pid of a process's parent."""
    return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])


def children(pid: int) -> list[int]:
    """List the pids of a process's children."""
    threads = (PROC / str(pid) / "task").iterdir()
    return [int(word) for thread in threads for word in (thread / "children").read_text().split()]


def title(pid: int) -> str:
    """Give a process's command line."""
    return (PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode()


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
