"""How an agent starts on another machine: one login by the OpenSSH program, which is the channel.

So the user's ssh_config, jump hosts, keys, tokens and known_hosts count. See docs/protocol.md,
"Over a login".
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shlex
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from corral import openfiles
from corral.agent import LEFT
from corral.failpoint import around
from corral.fleet import bootstrap, diagnosis
from corral.fleet.base import AgentStart, Joined, LaunchError, refusal, something_left, understood
from corral.fleet.bootstrap import Payload
from corral.fleet.relay import Login

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from corral.fleet.base import Doors, Ending
    from corral.fleet.gate import Gates
    from corral.fleet.guard import Guard
    from corral.model.host import HostSpec

F = TypeVar("F")

SSH = "ssh"
OPTIONS = (
    "-T", "-x", "-a",  # no terminal, no forwarding of X or the agent
    "-o", "BatchMode=yes",
    "-o", "ConnectTimeout=10",
    "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3",
    "-o", "ControlMaster=no",  # a connection the user holds open is used, none is left behind
    "-o", "PermitLocalCommand=no",
)  # fmt: skip
ANSWER_S = 180.0  # from the login to the agent's word: a host's setup may take 120 s of it
LOGIN_S = 40.0  # to be let in: ConnectTimeout for each jump, keys, a slow start-up file
GOODBYE_S = 2.0  # ssh ends by itself when the host has hung up
RELAY_ENDS: dict[int, Ending] = {0: "gone", LEFT: "left"}  # its exit code is ssh's
STDERR = 16384  # bytes kept of what ssh says
SPARE_FILES = 32  # that logins leave to the database, to results and to what comes in


class SshChannel:
    """See `corral.fleet.base.Channel`."""

    def __init__(self, process: _Process, login: Login, said: Joined) -> None:
        self.folder = said.folder
        self.collects = said.collects
        self._process = process
        self._login = login

    async def ended(self) -> Ending:
        await self._login.over.wait()
        return RELAY_ENDS.get(await self._process.end(), "broken")

    async def close(self) -> None:
        self._login.close()
        await self._process.end()


class SshLauncher:
    """See `corral.fleet.base.Launcher`."""

    def __init__(self, spec: HostSpec, *, doors: Doors, gates: Gates, guard: Guard) -> None:
        self._spec = spec
        self._doors = doors
        self._gates = gates
        self._guard = guard
        gates.expect(spec.name)
        self._ssh = shlex.split(spec.ssh or SSH)

    async def start(self, what: AgentStart, *, committed: Callable[[], None]) -> SshChannel:
        channel = await self._join(msgspec.to_builtins(what), committed)
        assert channel is not None, "only attach may find nothing"
        return channel

    async def attach(self, what: AgentStart) -> SshChannel | None:
        with something_left():
            return await self._join(msgspec.to_builtins(what) | {"attach": True}, _nothing)

    async def ask(self, verb: str, words: Mapping[str, Any]) -> dict[str, Any]:
        payload = Payload(words)
        async with self._login(verb, payload, _nothing, carries=False) as (process, login):
            return await self._answer(process, login)

    async def _join(
        self, words: dict[str, Any], committed: Callable[[], None]
    ) -> SshChannel | None:
        payload = Payload(words)
        async with self._login("join", payload, committed, carries=True) as (process, login):
            said = await self._answer(process, login)
            if said.get("gone"):
                return None
            joined = understood(said, Joined, host=self._spec.name)
            process.keep()
            return SshChannel(process, login, joined)

    @contextlib.asynccontextmanager
    async def _login(
        self, verb: str, payload: Payload, committed: Callable[[], None], *, carries: bool
    ) -> AsyncGenerator[tuple[_Process, Login]]:
        """Log in, as one of few at once; at the end ssh is gone unless it is to be kept.

        Raises:
            LaunchError: There is no such program, or the login takes too long.
        """
        connect = self._doors.connect if carries else None
        login = Login(payload, connect=connect, committed=committed)
        words = [*self._ssh, *OPTIONS, *_destination(self._spec)]
        command = bootstrap.command(self._spec.python, verb)
        process: _Process | None = None
        try:
            async with self._gates.enter(self._spec, self._ssh):
                process = await _Process.start(
                    [*words, command], login, self._spec.name, self._guard
                )
                await self._within(LOGIN_S, login.let_in, login)
            yield process, login
        finally:
            if process is not None and not process.kept:
                login.close()
                await process.end(GOODBYE_S if login.reached else 0.0)

    async def _within(self, seconds: float, what: asyncio.Future[F], login: Login) -> F:
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(what)
        except TimeoutError:
            raise self._silent(login) from None

    async def _answer(self, process: _Process, login: Login) -> dict[str, Any]:
        """Wait for what the agent's program says.

        Raises:
            LaunchError: It says why it cannot, or nothing.
        """
        said = await self._within(ANSWER_S, login.answer, login)
        if said is None:
            raise await self._ended(process, login)
        if "error" in said:
            raise refusal(said, host=self._spec.name)
        return said

    def _silent(self, login: Login) -> LaunchError:
        if login.reached:
            return LaunchError(
                f"{self._spec.name}: its agent does not answer within {ANSWER_S:.0f} s",
                hint="is it overloaded, or its disk hanging?", retryable=True,
            )  # fmt: skip
        return LaunchError(
            f"{self._spec.name}: the login takes longer than {LOGIN_S:.0f} s",
            hint=diagnosis.look_there(self._spec, ssh=shlex.join(self._ssh)),
            retryable=True,
        )

    async def _ended(self, process: _Process, login: Login) -> LaunchError:
        """Explain a login that ended without an answer."""
        code = await process.end()
        name, ssh = self._spec.name, shlex.join(self._ssh)
        if login.old_pythons is not None:
            return diagnosis.no_python(name, too_old=login.old_pythons, chosen=self._spec.python)
        if code == SSH_FAILED or code < 0:
            return diagnosis.ssh_failed(self._spec, ssh=ssh, code=code, stderr=process.stderr)
        if not login.reached:
            noise = login.noise.decode(errors="replace") or process.stderr
            return diagnosis.other_command(name, noise=noise, code=code)
        return diagnosis.program_failed(name, stderr=process.stderr, code=code)


SSH_FAILED = 255  # ssh's own failure; else it ends as the remote command did


class _Process(asyncio.Protocol):
    """The ssh process; as a protocol, it reads what ssh says on stderr."""

    def __init__(self, process: subprocess.Popen[bytes], guard: Guard) -> None:
        self._process = process
        self._guard = guard
        self._said = bytearray()
        self._closed = asyncio.Event()
        self._ended = False
        self.kept = False

    @classmethod
    async def start(cls, words: list[str], login: Login, name: str, guard: Guard) -> _Process:
        """Start ssh with one socket as its stdin and stdout, in a session of its own.

        The session keeps the terminal's Ctrl-C away from it: to drain, the connection is needed.

        Raises:
            LaunchError: There is no such program, or no room for one more.
        """
        loop = asyncio.get_running_loop()
        try:
            guard.stand_by()
            process, ours, mine = _spawn(words)
        except OSError as error:
            raise diagnosis.not_started(name, ssh=words[0], error=error) from error
        guard.begun(process.pid)
        one = cls(process, guard)
        try:
            await loop.create_connection(lambda: one, sock=mine)
            await loop.create_connection(lambda: login, sock=ours)
        except BaseException:  # cancelled at once
            one.kill()
            ours.close()
            mine.close()
            raise
        return one

    def keep(self) -> None:
        """Have it outlive its start."""
        self.kept = True

    @property
    def stderr(self) -> str:
        return self._said.decode(errors="replace")

    def data_received(self, data: bytes) -> None:
        self._said += data
        del self._said[: max(0, len(self._said) - STDERR)]

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._closed.set()

    async def end(self, patience_s: float = GOODBYE_S) -> int:
        """See it gone, by force if it has not ended by itself then; gives its exit code."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._closed.wait()  # it has closed its stderr: it is ending
        finally:
            if not self._closed.is_set():
                self.kill()
            if not self._ended:  # once: the number may be another's by the second time
                self._ended = True
                self._guard.ended(self._process.pid)
        return await asyncio.to_thread(self._reap)

    def kill(self) -> None:
        """Kill it with all it started: the ssh to a jump host would hang on without it."""
        with around("ssh.kill"):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def _reap(self) -> int:
        with around("ssh.reap"):
            try:
                return self._process.wait(GOODBYE_S)
            except subprocess.TimeoutExpired:
                self.kill()
                return self._process.wait()


def _spawn(words: list[str]) -> tuple[subprocess.Popen[bytes], socket.socket, socket.socket]:
    """Start ssh; gives our ends of its stdin and stdout, and of its stderr.

    Raises:
        OSError: It cannot be started, or would take open files that the master itself needs.
    """
    with contextlib.ExitStack() as kept, contextlib.ExitStack() as given:
        ours, theirs = socket.socketpair()
        kept.enter_context(ours)
        given.enter_context(theirs)
        mine, its = socket.socketpair()
        kept.enter_context(mine)
        given.enter_context(its)
        if openfiles.room_above(its.fileno()) < SPARE_FILES:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        with around("ssh.start"):
            process = subprocess.Popen(
                openfiles.as_started(words),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=its.fileno(),
                start_new_session=True,
            )
        kept.pop_all()
        return process, ours, mine


def _destination(spec: HostSpec) -> list[str]:
    words = [] if spec.port is None else ["-p", str(spec.port)]
    words += [] if spec.user is None else ["-l", spec.user]
    return [*words, "--", spec.host or spec.name]


def _nothing() -> None:
    """Nobody needs to know that the host is about to be told."""
