"""How an agent starts on this machine: the same file, the same channel, no ssh and no relay."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from corral import agent
from corral.fleet.base import AgentStart, LaunchError

START_S = 20.0  # an agent that says nothing for so long is given up; a start takes 0.05 s


class LocalLauncher:
    """See `corral.fleet.base.Launcher`."""

    async def start(self, what: AgentStart) -> None:
        await asyncio.to_thread(self._start, what)

    def alive(self, folder: Path) -> bool:
        try:
            descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    async def sweep(self, owner: str, incarnation: str | None) -> int:
        said = await asyncio.to_thread(
            _run_agent, "sweep", {"owner": owner, "incarnation": incarnation}
        )
        return int(str(said["killed"]))

    @staticmethod
    def folder(owner: str, incarnation: str) -> Path:
        """Choose and make an agent's folder on this machine.

        Raises:
            LaunchError: There is no place for it.
        """
        try:
            return Path(agent.choose_folder(owner, incarnation))
        except agent.Unusable as error:
            raise LaunchError(
                f"localhost: {error}", hint="make room in /var/tmp or /tmp, or mend their rights"
            ) from error

    @staticmethod
    def forget(folder: Path) -> None:
        """Remove a dead agent's folder."""
        shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def _start(what: AgentStart) -> None:
        _run_agent("start", msgspec.to_builtins(what))


def _run_agent(verb: str, what: dict[str, object]) -> dict[str, object]:
    """Run one verb of the agent's own file; it answers with one line of JSON."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", agent.__file__, verb],
        input=json.dumps(what).encode() + b"\n",
        capture_output=True,
        timeout=START_S,
        check=False,
    )
    line = done.stdout.strip().rpartition(b"\n")[2]
    if not line:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise LaunchError(f"localhost: the agent did not start: {last or done.returncode}")
    said: dict[str, object] = json.loads(line)
    if "error" in said:
        raise LaunchError(f"localhost: {said['error']}", hint=str(said.get("hint") or "") or None)
    return said
