"""How long does a login keep others waiting? Until it is let in, however slow its host is then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from corral.fleet.base import Doors, LaunchError
from corral.fleet.bootstrap import SHELL
from corral.fleet.gate import AT_ONCE, Gates
from corral.fleet.guard import Guard
from corral.fleet.ssh import SshLauncher
from corral.model.host import HostSpec
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SSH = """#!/bin/sh
# Not a host: what ssh says of one, then one that lets us in and takes its time for the answer.
for word; do [ "$word" = -G ] && printf 'hostname inner\\nproxyjump gate\\n' && exit; done
touch {folder}/now-$$
ls {folder} | grep -c now > {folder}/in-$$
{before}
echo {shell}
while ! [ -e {folder}/go ]; do sleep 0.05; done
rm -f {folder}/now-$$
exit 3
"""
DEADLINE_S = 20.0
MANY = 3 * AT_ONCE


@pytest.mark.parametrize("let_in", [True, False], ids=["let in", "not let in"])
def test_a_host_that_has_let_us_in_keeps_nobody_waiting(tmp_path: Path, let_in: bool) -> None:
    asyncio.run(_log_in(tmp_path, let_in=let_in))
    crowds = [int(path.read_text()) for path in tmp_path.glob("in-*")]
    assert len(crowds) == MANY
    assert max(crowds) == MANY if let_in else max(crowds) <= AT_ONCE


async def _log_in(folder: Path, *, let_in: bool) -> None:
    program = folder / "ssh"
    wait = f"while ! [ -e {folder}/go ]; do sleep 0.05; done; rm {folder}/now-$$"
    before = "" if let_in else wait  # it counts no more once it is let in: the next may be at once
    program.write_text(SSH.format(folder=folder, shell=SHELL.decode(), before=before))
    program.chmod(0o755)
    gates = Gates()
    doors = Doors(listen=_nowhere, connect=asyncio.Protocol)
    specs = [
        HostSpec(name=f"h{number}", host=f"h{number}", ssh=str(program)) for number in range(MANY)
    ]
    guard = Guard()
    launchers = [SshLauncher(spec, doors=doors, gates=gates, guard=guard) for spec in specs]
    logins = [asyncio.create_task(one.ask("check", {})) for one in launchers]
    try:
        await until(lambda: _begun(folder) == (MANY if let_in else AT_ONCE), seconds=DEADLINE_S)
    finally:
        (folder / "go").touch()
    outcomes = await asyncio.gather(*logins, return_exceptions=True)
    guard.close()
    assert all(isinstance(outcome, LaunchError) for outcome in outcomes)


def _begun(folder: Path) -> int:
    return len(list(folder.glob("in-*")))


async def _nowhere(folder: Path) -> Callable[[], None]:
    raise AssertionError(folder)
