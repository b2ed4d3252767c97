"""Which processes does a simulated host have, and which of them are corral's?"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from corral.model.base import Frozen
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


class Process(Frozen, frozen=True, kw_only=True):
    """A living process, with its pid as seen from outside the host."""

    pid: int
    name: str
    words: tuple[str, ...]
    marked: bool  # a variable CORRAL_... is in its environment

    @property
    def ours(self) -> bool:
        """Whether it is corral's: by its name, its words or its environment.

        An agent that is just being read, and has not named itself yet, has its file as a word.
        """
        named = self.name.startswith("corral") or any("corral" in word for word in self.words)
        return named or self.marked or "agent.py" in self.words


def read(pid: int) -> Process | None:
    """Look at a process; None if it is dead, a zombie too."""
    place = Path(f"/proc/{pid}")
    try:
        if (place / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return None
        return Process(
            pid=pid,
            name=(place / "comm").read_text().strip(),
            words=_words((place / "cmdline").read_bytes()),
            marked=b"\0CORRAL_" in b"\0" + _environment(pid),
        )
    except (FileNotFoundError, ProcessLookupError):
        return None


def sharing_namespace(init: int) -> list[int]:
    """List the pids in the pid namespace of ``init``, without itself."""
    wanted = _namespace(init)
    return [pid for pid in _pids() if pid != init and wanted and _namespace(pid) == wanted]


def below(top: int) -> list[int]:
    """List the descendants of ``top``."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        children.setdefault(_parent(pid), []).append(pid)
    found = list(children.get(top, ()))
    for pid in found:  # grows while it is walked
        found += children.get(pid, ())
    return found


def inner_pid(pid: int) -> int | None:
    """Say which pid a process has inside its host; None if it is dead."""
    return next((int(line.split()[-1]) for line in _status(pid) if line.startswith("NSpid:")), None)


def is_stopped(pid: int) -> bool:
    """Say whether a process is stopped by a signal, or dead; or waits in vfork for one that is."""
    state = _state(pid)
    return state in ("", "T", "Z", "X") or (
        state == "D" and any(_state(child) == "T" for child in _children(pid))
    )


def _state(pid: int) -> str:
    states = [line.split()[1] for line in _status(pid) if line.startswith("State:")]
    return states[0] if states else ""


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:  # it has just ended
        return []
    return [int(word) for word in text.split()]


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; gives False if the process is dead already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def kill_at_once(find: Callable[[], Collection[int]]) -> None:
    """Kill all that ``find`` lists as in one instant: all are stopped before the first dies.

    Agents mend what they lose of themselves, and loops in tasks start something anew all the time.
    """

    def all_stopped() -> bool:
        awake = [pid for pid in find() if not is_stopped(pid)]
        for pid in awake:
            send(pid, signal.SIGSTOP)
        return not awake  # who was stopped before it was listed has started nobody meanwhile

    assert find(), "there is nothing to kill"
    wait_until(all_stopped, what="all are stopped")
    for pid in find():
        send(pid, signal.SIGKILL)


def name(pid: int) -> str:
    """Give the name of a process; "" if it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _words(line: bytes) -> tuple[str, ...]:
    text = line.decode(errors="replace").rstrip("\0")  # who renames itself leaves many
    return tuple(text.split("\0")) if text else ()


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:
        return b""  # sshd's own, which it hides from users


def _status(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""  # dead, a zombie, or another user's


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
