"""Which system parts do the tests need, which are missing, and what does that leave out?

``python -m tests.parts`` says so before the tests; under CI a missing part fails.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

PARTS = {
    "cc": "the benchmark's C floor and the agent's spawn benchmark",
    "gs": "one picture per page, with GhostScript",
    "sshd": "hosts that are reached by ssh",
    "nft": "networks that lose packets",
    "tcsh": "hosts with csh as login shell",
    "fish": "hosts with fish as login shell",
    "memory groups": "tasks that the kernel kills for want of memory",
    "time namespaces": "a master whose clock is another one after a restart",
    "root": "hosts with a network, disk and process table of their own",
}
ADMIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # on PATH of root alone, on most systems


def missing() -> dict[str, str]:
    """Give the missing parts with what they leave out."""
    return {part: what for part, what in PARTS.items() if not _is_here(part)}


def find(program: str) -> str | None:
    """Find a program, one for administrators too."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *ADMIN]))


@functools.cache
def has_namespaces() -> bool:
    """Try whether this user may make namespaces; a container's root may not."""
    if os.geteuid() != 0 or not all(find(program) for program in ("unshare", "nsenter", "ip")):
        return False
    words = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "true"]
    return subprocess.run(words, stderr=subprocess.DEVNULL, check=False).returncode == 0


@functools.cache
def has_time_namespaces() -> bool:
    """Try whether a process may have a clock of its own."""
    words = ["unshare", "--time", "--fork", "true"]
    if os.geteuid() != 0 or not find("unshare"):
        return False
    return subprocess.run(words, stderr=subprocess.DEVNULL, check=False).returncode == 0


def memory_groups() -> tuple[Path, str] | None:
    """Find where groups can be made whose memory the kernel limits, and the name of the limit."""
    root = Path("/sys/fs/cgroup")
    if os.access(root / "memory" / "cgroup.procs", os.W_OK):
        return root / "memory", "memory.limit_in_bytes"
    control = root / "cgroup.subtree_control"
    if os.access(control, os.W_OK) and "memory" in control.read_text().split():
        return root, "memory.max"
    return None


def _is_here(part: str) -> bool:
    if part == "memory groups":
        return memory_groups() is not None
    if part == "time namespaces":
        return has_time_namespaces()
    return has_namespaces() if part in ("root", "memory groups") else find(part) is not None


def pythons() -> list[str]:
    """List every Python 3.6 or newer on this machine, by version."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found: dict[str, str] = {}
    for minor in range(6, 20):
        name = f"python3.{minor}"
        inside = sorted(root.glob(f"3.{minor}.*/bin/{name}"))
        path = str(inside[-1]) if inside else shutil.which(name)
        if path and "shims" not in path:
            found[name] = path
    return list(found.values()) or [sys.executable]


def main() -> int:
    """Say what is left out."""
    left_out = missing()
    for part, what in left_out.items():
        way = "as root, outside of a container" if part == "root" else "make system-deps"
        print(f"missing: {part}; left out: {what}; try: {way}")
    return 1 if left_out and os.environ.get("CI") else 0


if __name__ == "__main__":
    sys.exit(main())
