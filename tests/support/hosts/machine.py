"""How does a simulated host live and end? The first process of one, run as ``python -I -S``.

The first line on stdin is the plan, in JSON. Each later line is the order to start sshd anew, and
is answered with its pid. The end of stdin means that the bed is gone: then so are we, and with us
every process of the host, since we are the init of its pid namespace; without namespaces we are
at least the one to whom orphans come (the child subreaper), and kill what descends from us.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys

PR_SET_CHILD_SUBREAPER = 36
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC = 1, 32, 4096, 16384
LIBC = ctypes.CDLL(None, use_errno=True)
PATH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class Sshd:
    """The listener of this host."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.pid = 0

    def start(self) -> None:
        """Start it, after the end of the one before; sessions of that one live on."""
        if self.pid:
            self._end()
        quiet = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1)]
        self.pid = os.posix_spawn(self.words[0], self.words, PATH, file_actions=quiet, setsid=True)
        say(str(self.pid))

    def _end(self) -> None:
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # it was dead, or `reap` was faster


def main() -> None:
    """Become the host that the plan describes, and serve until the bed is gone."""
    orders = sys.stdin
    plan = json.loads(orders.readline())
    say(os.readlink("/proc/self"))  # our pid as the bed sees it: /proc is still the bed's
    if plan["namespaces"]:
        socket.sethostname(plan["name"])
        for source, target, kind in plan["mounts"]:
            mount(source, target, kind)
    else:
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", 0o755, exist_ok=True)  # sshd will not start without it
    signal.signal(signal.SIGCHLD, reap)
    sshd = Sshd(plan["sshd"])
    sshd.start()
    for _ in orders:
        sshd.start()
    if not plan["namespaces"]:
        kill_descendants()


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def mount(source: str, target: str, kind: str) -> None:
    """Mount ``source``: a ``bind``, a ``bind-ro``, or a fresh file system of that kind."""
    flags = MS_BIND | MS_REC if kind.startswith("bind") else 0
    fresh = None if flags else kind.encode()
    if LIBC.mount(source.encode(), target.encode(), fresh, flags, None):
        raise OSError(ctypes.get_errno(), f"cannot mount {source} on {target}")
    if kind == "bind-ro" and LIBC.mount(
        None, target.encode(), None, MS_BIND | MS_REMOUNT | MS_RDONLY, None
    ):
        raise OSError(ctypes.get_errno(), f"cannot make {target} read-only")


def reap(*_: object) -> None:
    """Reap every dead child, adopted ones too."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass  # no child is left


def kill_descendants() -> None:
    """Kill what descends from us until nothing does; who loses a parent becomes our child."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a child keeps its pid until it is reaped here
    while children := children_of(os.getpid()):
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as text:
        return [int(word) for word in text.read().split()]


if __name__ == "__main__":
    main()
