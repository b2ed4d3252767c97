"""In which ways can this machine hold a task to its memory, and how does an agent get each?

Its Python is a script that first enters where that way is the one to be found. No way is told to
the agent: it looks around itself.
"""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests import parts
from tests.agent.support import agent

if TYPE_CHECKING:
    from collections.abc import Iterator

POLLED = "polled"  # there are no control groups, or they are not ours to divide
OWN = "own"  # in the group that the tests are in
ALONE = "alone"  # cgroup v2: as the only process of a group
HIDDEN = "exec unshare --mount sh -c 'mount -t tmpfs none /sys/fs/cgroup && exec {} \"$@\"' sh"


def found() -> list[str]:
    """List the ways of this machine."""
    groups = [OWN] if own_groups() else []
    return [POLLED, *groups, *([ALONE] if _is_v2() else [])]


def kernels() -> list[str]:
    """List those in which the kernel does it."""
    return [way for way in found() if way != POLLED]


def own_groups() -> list[Path]:
    """List the groups that the tests are in and may divide."""
    return [
        Path(os.fsdecode(own))
        for by, own in _groups()
        if agent.may_divide(by, own, alone=False)
    ]  # fmt: skip


def groups_of(incarnation: str) -> list[Path]:
    """Find the control groups that an agent has below ours."""
    return [group for own in own_groups() for group in own.glob(f"corral-{incarnation}")]


@contextmanager
def python(way: str, folder: Path) -> Iterator[str]:
    """Write the script; in the end the group that was made for it must be empty, and is removed."""
    script = folder / "python"
    if way == POLLED and parts.memory_groups():
        command = HIDDEN.format(shlex.quote(sys.executable))
    else:
        command = f"exec {shlex.quote(sys.executable)}"
    if way in (POLLED, OWN):
        _write(script, f'{command} "$@"')
        yield str(script)
        return
    groups = parts.memory_groups()
    assert groups is not None
    group = groups[0] / f"corral-test-{os.getpid()}"
    group.mkdir()
    _write(script, f'echo $$ > {group}/cgroup.procs; {command} "$@"')
    try:
        yield str(script)
    finally:
        group.rmdir()


def _write(script: Path, line: str) -> None:
    script.write_text(f"#!/bin/sh\n{line}\n")
    script.chmod(0o755)


def _groups() -> list[tuple[str, bytes]]:
    names = ("cgroup", "mountinfo")
    found: list[tuple[str, bytes]] = agent.own_groups(
        *(Path(f"/proc/self/{name}").read_bytes() for name in names)
    )
    return found


def _is_v2() -> bool:
    groups = parts.memory_groups()
    return groups is not None and groups[1] == "memory.max"
