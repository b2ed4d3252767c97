"""A folder in which corral is used as a user would, and the processes that serve it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks import watch
from benchmarks.environments import installed
from benchmarks.timing import LIMIT_S, timed
from corral.store.folder import StateFolder

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


class Place:
    """A fresh folder with a state folder of its own; ``ssh`` reaches hosts."""

    def __init__(self, folder: Path, *, ssh: str) -> None:
        folder.mkdir()
        if (above := StateFolder.find(folder)) is not None:
            raise SystemExit(f"{above.path} would be used: move it away, or set TMPDIR")
        self.folder = folder
        self.program = _program()
        self.env = installed() | ({"CORRAL_SSH": ssh} if ssh else {})

    def run(self, *words: str) -> float:
        """Run corral to its end and give the seconds it took."""
        return timed([self.program, *words], self.folder, env=self.env)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start corral and go on."""
        return subprocess.Popen(
            [self.program, *words], cwd=self.folder, env=self.env, stdout=subprocess.DEVNULL
        )

    def ask(self, *words: str) -> Any:
        """Give what a verb says as JSON."""
        said = subprocess.run(
            [self.program, *words, "--json"],
            cwd=self.folder,
            env=self.env,
            check=True,
            capture_output=True,
            timeout=LIMIT_S,
        )
        return json.loads(said.stdout)

    def master(self) -> int:
        """Give the pid of the master, 0 if there is none."""
        state = StateFolder.find(self.folder)
        address = None if state is None else state.master()
        return 0 if address is None else address.pid

    def agent(self) -> list[int]:
        """Give the pids of links and supervisors, on test hosts too."""
        state = StateFolder.find(self.folder)
        if state is None:
            return []
        link = watch.titled(f"corral-link {state.owner}/")
        supervisor = watch.titled(f"corral-super {state.owner}/")
        # a child of the supervisor looks like it until it has become its task
        return link + [pid for pid in supervisor if watch.parent(pid) not in supervisor]

    def relays(self) -> list[int]:
        """Give the pids of relays."""
        state = StateFolder.find(self.folder)
        return [] if state is None else watch.titled(f"corral-relay {state.owner}/")

    def end(self) -> None:
        """End what still runs here, and see it gone."""
        if pid := self.master():
            os.kill(pid, signal.SIGTERM)
        state = StateFolder.find(self.folder)
        watch.wait_until("the master ends", lambda: state is None or not state.served())
        watch.wait_until("the agent ends", lambda: not self.agent())


@contextmanager
def used(folder: Path, *, ssh: str = "") -> Generator[Place]:
    """Use a fresh folder and remove it."""
    place = Place(folder, ssh=ssh)
    try:
        yield place
    finally:
        place.end()
        shutil.rmtree(folder)


def _program() -> str:
    program = shutil.which("corral")
    if program is None:
        raise SystemExit("corral is not on PATH; try: make bench")
    return program
