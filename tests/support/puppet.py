"""Hosts that say what a test wants, or nothing.

One is a program in place of ssh, which hears all that a host does; this machine's is one in place of Python.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from corral.fleet.bootstrap import SHELL

if TYPE_CHECKING:
    from pathlib import Path

_PROGRAM = """#!{python}
import hashlib, json, pathlib, re, sys
host = sys.argv[sys.argv.index("--") + 1]
lines = pathlib.Path({folder!r}, host)
first, *others = json.loads(lines.read_text())
lines.write_text(json.dumps(others or [first]))
if isinstance(first, str):  # it is not let in
    sys.stderr.write(first)
    sys.exit(255)
print({shell!r}, flush=True)
heard = sys.stdin.buffer
loader = heard.read(int(heard.readline()))
for size in re.findall(rb"f.read.(\\d+)", loader):
    heard.read(int(size))
mark = hashlib.sha256(json.loads(heard.readline())["challenge"].encode()).hexdigest()
print("corral", mark, json.dumps(first), flush=True)
heard.read()
"""


def puppets(folder: Path, **lines: list[str | dict[str, Any]]) -> str:
    """Have hosts that say their lines, one at each login, the last again and again.

    A text is what ssh itself says of a login that fails; anything else the answer of the agent's
    program. Gives the text for ``--ssh`` and CORRAL_SSH.
    """
    for host, said in lines.items():
        (folder / host).write_text(json.dumps(said))
    program = folder / "ssh"
    program.write_text(
        _PROGRAM.format(python=sys.executable, folder=str(folder), shell=SHELL.decode())
    )
    program.chmod(0o755)
    return str(program)


def mute(folder: Path) -> str:
    """Give a program in place of Python that never says a word nor ends."""
    program = folder / "mute"
    program.write_text("#!/bin/sh\nexec sleep 3600\n")
    program.chmod(0o755)
    return str(program)
