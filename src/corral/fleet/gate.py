"""How many logins may be under way at once: few per endpoint, for sshd refuses crowds at random.

An endpoint is the machine that ssh connects to first: the first jump host, else the host itself.
OpenSSH's server drops unauthenticated connections from the eleventh on (``MaxStartups 10:30:100``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from corral import openfiles
from corral.failpoint import around

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from corral.model.host import HostSpec

AT_ONCE = 8  # logins per endpoint
PER_CORE = 16  # logins for each core of this machine: a handshake costs 80 ms of one
RESOLVE_S = 10.0  # for ``ssh -G``, which takes 6 ms


class Gates:
    """One gate per endpoint, and one for this machine's own cores."""

    def __init__(self) -> None:
        self._gates: dict[str, asyncio.Semaphore] = {}
        self._own = asyncio.Semaphore(PER_CORE * (os.cpu_count() or 1))
        self._hosts: set[str] = set()

    def expect(self, host: str) -> None:
        """Count a host in before it comes, so that the first of many know that they are many."""
        self._hosts.add(host)

    @contextlib.asynccontextmanager
    async def enter(self, spec: HostSpec, ssh: Sequence[str]) -> AsyncGenerator[None]:
        """Wait for a turn to log in."""
        async with self._own:
            if len(self._hosts) <= AT_ONCE:  # they cannot be too many for anyone
                yield
                return
            gate = self._gates.setdefault(await endpoint(spec, ssh), asyncio.Semaphore(AT_ONCE))
            async with gate:
                yield


async def endpoint(spec: HostSpec, ssh: Sequence[str]) -> str:
    """Ask ssh where it would connect to first; the host's name if it does not say."""
    words = [*ssh, "-G"]
    words += [] if spec.port is None else ["-p", str(spec.port)]
    words += [] if spec.user is None else ["-l", spec.user]
    try:
        with around("gate.start"):
            process = await asyncio.create_subprocess_exec(
                *openfiles.as_started(words), "--", spec.host or spec.name,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
    except OSError:
        return spec.name
    try:
        async with asyncio.timeout(RESOLVE_S):
            said, _ = await process.communicate()
    except TimeoutError:
        return spec.name
    finally:
        if process.returncode is None:  # it hangs, or nobody wants to know any more
            with around("gate.kill"):
                process.kill()
                await asyncio.shield(process.wait())
    settings: dict[str, str] = {}
    for line in said.decode(errors="replace").splitlines():
        key, _, value = line.partition(" ")
        settings[key] = value
    jump = settings.get("proxyjump", "none")
    if jump != "none":
        return jump.split(",")[0]
    return f"{settings.get('hostname', spec.name)}:{settings.get('port', '22')}"
