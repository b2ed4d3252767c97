"""How an agent starts on this machine: the same file, the same channel, no ssh and no relay.

The master listens on the socket in the agent's own folder. So a restarted master is found in the
same place, and adopts the agent with all that runs on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from corral import agent, openfiles
from corral.failpoint import around
from corral.fleet.base import AgentStart, LaunchError, brief, refusal, something_left
from corral.fleet.bootstrap import Payload
from corral.model.host import LOCAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from corral.fleet.base import Doors, Ending

START_S = 20.0  # an agent that says nothing for so long is given up; a start takes 0.05 s
ASK_S = 180.0  # a sweep of many processes that will not die
COLLECT_S = 60.0  # a dead agent's spool is handed in within this time, or left where it is


class LocalChannel:
    """See `corral.fleet.base.Channel`."""

    def __init__(
        self, folder: str, unlisten: Callable[[], None], *, collects: bool = False
    ) -> None:
        self.folder = folder
        self.collects = collects
        self._unlisten = unlisten

    async def ended(self) -> Ending:
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wait() -> None:
            _wait_for_end(self.folder)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(gone.set)

        threading.Thread(target=wait, name=f"end of {self.folder}", daemon=True).start()
        await gone.wait()
        return "left" if await asyncio.to_thread(Path(self.folder).is_dir) else "gone"

    async def close(self) -> None:
        self._unlisten()


class LocalLauncher:
    """See `corral.fleet.base.Launcher`."""

    def __init__(self, *, doors: Doors) -> None:
        self._doors = doors
        self._collected: set[str] = set()  # folders whose dead agents had their second life

    async def start(self, what: AgentStart, *, committed: Callable[[], None]) -> LocalChannel:
        folder = self._choose_folder(what)
        unlisten = await self._doors.listen(Path(folder))
        committed()
        try:
            await asyncio.to_thread(_run_agent, "start", self._words(what, folder))
        except LaunchError:
            unlisten()
            raise
        return LocalChannel(folder, unlisten)

    async def attach(self, what: AgentStart) -> LocalChannel | None:
        with something_left():
            return await self._attach(what)

    async def _attach(self, what: AgentStart) -> LocalChannel | None:
        folder = _find(what)
        if folder is None:
            return None
        if _lives(folder):
            return LocalChannel(folder, await self._doors.listen(Path(folder)))
        await asyncio.to_thread(
            _run_agent, "sweep", {"owner": what.owner, "incarnation": what.incarnation}
        )
        if folder in self._collected or not (Path(folder) / "spool").is_dir():
            await asyncio.to_thread(agent.remove_home, os.fsencode(folder))
            return None
        self._collected.add(folder)
        again = msgspec.structs.replace(what, collect=True, setup="")
        unlisten = await self._doors.listen(Path(folder))
        try:
            await asyncio.to_thread(_run_agent, "start", self._words(again, folder))
        except LaunchError:
            unlisten()
            raise
        return LocalChannel(folder, unlisten, collects=True)

    async def ask(self, verb: str, words: Mapping[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(_ask_agent, verb, words)

    @staticmethod
    def _choose_folder(what: AgentStart) -> str:
        try:
            return agent.choose_folder(what.owner, what.incarnation, what.workdir)
        except agent.Unusable as error:
            raise LaunchError(
                f"{LOCAL}: {error}", hint="make room in /var/tmp or /tmp, or mend their rights"
            ) from error

    @staticmethod
    def _words(what: AgentStart, folder: str) -> dict[str, Any]:
        words: dict[str, Any] = msgspec.to_builtins(what)
        return words | {"folder": folder}


def _find(what: AgentStart) -> str | None:
    """Find an agent's folder, also if its master died before it could write down where it is."""
    places: list[bytes] = agent.places(msgspec.to_builtins(what))  # type: ignore[no-untyped-call]  # Python 3.6
    return next((os.fsdecode(place) for place in places if Path(os.fsdecode(place)).is_dir()), None)


def _wait_for_end(folder: str) -> None:
    """Wait, in a thread of its own, until link and supervisor have let go of their lock."""
    try:
        lock = os.open(Path(folder) / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return  # it is gone with its folder
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def _lives(folder: str) -> bool:
    return bool(agent.agent_lives(os.fsencode(folder)))  # type: ignore[no-untyped-call]  # Python 3.6


def _run_agent(verb: str, words: Mapping[str, Any]) -> dict[str, Any]:
    """Run one verb of the agent's own file; it answers with one line of JSON.

    Raises:
        LaunchError: It says why it cannot, or nothing.
    """
    line = json.dumps(words).encode() + b"\n"
    done = _run([agent.__file__, verb], line, START_S)
    said = done.stdout.strip().rpartition(b"\n")[2]
    if not said:
        raise _silent(done)
    return _checked(json.loads(said))


def _ask_agent(verb: str, words: Mapping[str, Any]) -> dict[str, Any]:
    payload = Payload(words)
    done = _run([agent.__file__, verb], payload.line(), ASK_S)
    said = done.stdout.rpartition(payload.mark)[2].strip()
    if not said:
        raise _silent(done)
    return _checked(json.loads(said))


def _run(words: list[str], line: bytes, seconds: float) -> subprocess.CompletedProcess[bytes]:
    """Run the agent's own file to its end.

    Raises:
        LaunchError: It cannot be started, or does not end in time.
    """
    try:
        with around("local.run"):
            return subprocess.run(
                openfiles.as_started([sys.executable, "-I", "-S", *words]),
                input=line,
                capture_output=True,
                timeout=seconds,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise LaunchError(
            f"{LOCAL}: the agent's program does not answer within {seconds:g} s",
            hint="is this machine overloaded, or its disk hanging?",
            retryable=True,
        ) from error
    except OSError as error:
        raise LaunchError(
            f"{LOCAL}: cannot start {sys.executable}: {error.strerror}",
            hint="see this machine's memory and limits",
            retryable=True,
        ) from error


def _silent(done: subprocess.CompletedProcess[bytes]) -> LaunchError:
    last = brief(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    return LaunchError(f"{LOCAL}: the agent did not start: {last or done.returncode}")


def _checked(said: dict[str, Any]) -> dict[str, Any]:
    if "error" in said:
        raise refusal(said, host=LOCAL)
    return said
