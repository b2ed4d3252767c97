"""What becomes of a login for which this machine has too few open files?"""

from __future__ import annotations

import asyncio
import os
import resource
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from corral.fleet.base import Doors, LaunchError
from corral.fleet.gate import Gates
from corral.fleet.guard import Guard
from corral.fleet.ssh import SPARE_FILES, SshLauncher
from corral.model.host import HostSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def at_most(files: int) -> Iterator[None]:
    """Let this process open so many files more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    newest = os.open(os.devnull, os.O_RDONLY)
    os.close(newest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (newest + files, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("files", [0, 2, 4, 8, SPARE_FILES])
def test_a_login_that_has_no_room_is_tried_again_and_leaves_nothing(files: int) -> None:
    """Bug: ssh itself was said to be missing, and the host never tried again."""
    asyncio.run(_log_in(files))


def test_a_missing_program_is_named_though_a_shell_would_start_it() -> None:
    guard = Guard()
    with at_most(100), pytest.raises(LaunchError) as caught:  # not the limit we began with
        asyncio.run(_launcher("/nowhere/ssh", guard).ask("check", {}))
    guard.close()
    assert str(caught.value) == "h1: cannot start /nowhere/ssh: No such file or directory"
    assert not caught.value.retryable


def _launcher(ssh: str, guard: Guard) -> SshLauncher:
    doors = Doors(_nowhere, asyncio.Protocol)
    return SshLauncher(HostSpec(name="h1", ssh=ssh), doors=doors, gates=Gates(), guard=guard)


async def _log_in(files: int) -> None:
    guard = Guard()
    launcher = _launcher("true", guard)
    before = _open()
    with at_most(files), pytest.raises(LaunchError) as caught:
        await launcher.ask("check", {})
    assert str(caught.value) == "h1: cannot start true: Too many open files"
    assert "ulimit -n" in str(caught.value.hint)
    assert caught.value.retryable
    guard.close()
    assert _open() == before
    with pytest.raises(LaunchError, match="another command"):  # it was started this time
        await launcher.ask("check", {})
    guard.close()


def _open() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


async def _nowhere(folder: Path) -> Callable[[], None]:
    raise AssertionError(folder)
