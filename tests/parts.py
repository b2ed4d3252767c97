"""Which system parts do the tests need, which are missing, and what does that leave out?

``python -m tests.parts`` says so before the tests; under CI a missing part fails.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

PARTS = {
    "cc": "the benchmark's C floor and the agent's spawn benchmark",
    "gs": "one picture per page, with GhostScript",
}


def missing() -> dict[str, str]:
    """Give the missing parts with what they leave out."""
    return {part: what for part, what in PARTS.items() if shutil.which(part) is None}


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
        print(f"missing: {part}; left out: {what}; try: make system-deps")
    return 1 if left_out and os.environ.get("CI") else 0


if __name__ == "__main__":
    sys.exit(main())
