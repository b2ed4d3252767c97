"""A task that does not want to die: leaves eight processes, each hard to find in its own way."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def mark(name: str) -> None:
    Path(sys.argv[1], f"{name}-{os.getpid()}").touch()


def idle(name: str) -> None:
    mark(name)
    while True:
        time.sleep(60)


def fork(then: Any, *args: object) -> None:
    if os.fork() == 0:
        then(*args)
        os._exit(0)


def daemon(then: Any, *args: object) -> None:
    """Fork twice, with a session of its own, nothing open, no folder."""

    def middle() -> None:
        os.setsid()
        fork(in_nowhere)

    def in_nowhere() -> None:
        os.chdir("/")
        nothing = os.open("/dev/null", os.O_RDWR)
        for target in range(3):
            os.dup2(nothing, target)
        then(*args)

    fork(middle)


def new_session() -> None:
    os.setsid()
    idle("session")


def stubborn() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    idle("stubborn")


def nameless() -> None:
    os.execve(sys.executable, [sys.executable, __file__, sys.argv[1], "nameless"], {})


def respawner() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    mark("respawner")
    while True:
        fork(idle, "respawned")
        os.wait()


def main() -> None:
    if sys.argv[2:] == ["nameless"]:
        idle("nameless")
    fork(idle, "child")
    fork(new_session)
    daemon(idle, "daemon")
    daemon(stubborn)
    daemon(nameless)
    daemon(respawner)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.argv[2:] == ["leave"]:
        names = ("child", "session", "daemon", "stubborn", "nameless", "respawner", "respawned")
        folder = Path(sys.argv[1])
        while not all(any(folder.glob(f"{name}-*")) for name in names):
            time.sleep(0.01)
        return
    idle("main")


main()
